import type { Model } from "../model/open.js";
import type { Dtype, ModuleType } from "../native/addon.js";
import { isExtraTensor } from "./extra-tensors.js";
import { type SaveOptions, saveModel, type TrainedNumbers } from "./save-model.js";

/** Numbers of trained weights by Hugging Face's names. */
export type NamedWeights = ReadonlyMap<string, { readonly shape: readonly number[]; readonly values: Float32Array }>;

/** The model that is trained, as far as its weights' names go: an Engine is one. */
export interface FullBase {
  readonly model: Model;
  readonly fingerprint: string;
  readonly dtype: Dtype;
}

/**
 * Full fine-tuning: the weights of the model themselves, all of them or those of chosen modules. Where adapters go, this
 * goes too; what comes out is a model's folder.
 *
 * @example
 * const { adapter: trained } = await new SftTrainer({ engine, adapter: FullWeights.of(engine), config }).train();
 * await trained.save("models/mine");
 */
export class FullWeights {
  readonly fingerprint: string;
  /** Of the weights that are trained. */
  readonly names: readonly string[];
  /** The types of modules that were chosen; null: everything is trained. */
  readonly targetModules: readonly ModuleType[] | null;
  readonly #base: FullBase;
  readonly #weights: NamedWeights | undefined;

  private constructor(base: FullBase, targetModules: readonly ModuleType[] | null, weights?: NamedWeights) {
    this.fingerprint = base.fingerprint;
    this.names = trainableNames(base.model, targetModules ?? undefined);
    this.targetModules = targetModules;
    this.#base = base;
    this.#weights = weights;
  }

  /** `targetModules`: types of linear modules, whose weights and biases are trained; everything when not given. */
  static of(base: FullBase, targetModules?: readonly ModuleType[]): FullWeights {
    return new FullWeights(base, targetModules ?? null);
  }

  withWeights(weights: NamedWeights): FullWeights {
    return new FullWeights(this.#base, this.targetModules, weights);
  }

  /** Writes a Hugging Face folder: trained matrices in the engine's dtype, gains and biases in fp32, the rest as it was. */
  save(folder: string): Promise<void> {
    const trained = [...(this.#weights ?? [])].map(([name, { values }]) => [name, () => values] as const);
    return this.saveNumbers(folder, new Map(trained));
  }

  /** The same of weights that lie elsewhere: each is asked for when its turn comes. */
  saveNumbers(folder: string, trained: TrainedNumbers, options?: SaveOptions): Promise<void> {
    return saveModel(folder, this.#base.model, trained, this.#base.dtype, options);
  }

  toString(): string {
    return `${this.names.length} tensors of ${this.#base.model.path}`;
  }
}

/** Names of the weights that full fine-tuning of this model trains. */
export function trainableNames(
  { config, tensors }: Pick<Model, "config"> & { readonly tensors: readonly { readonly name: string }[] },
  targetModules?: readonly ModuleType[],
): string[] {
  const names = tensors.map(({ name }) => name);
  if (targetModules) return names.filter((name) => targetModules.some((type) => name.includes(`.${type}.`)));
  return names.filter((name) => !isExtraTensor(config, name));
}
