import { join } from "node:path";
import { Adapter } from "../adapter/adapter.js";
import type { AdapterMatrices } from "../adapter/file.js";
import type { NamedWeights } from "../adapter/full-weights.js";
import { readSafetensors, writeSafetensors } from "../adapter/large-safetensors.js";
import { floatTensor, tensorFloats } from "../adapter/safetensors.js";
import type { AttachOptions } from "../adapter-slots.js";
import { ofUpdate } from "../caller-names.js";
import type { TrainConfig } from "../config/schema.js";
import { TinyLoraError } from "../error.js";
import type { TensorPart, TrainedTensor, UpdateOptions } from "../native/addon.js";
import type { WeightTraining } from "../policy.js";
import { decodeCheckpoint, readingCheckpoint } from "../run/checkpoint.js";
import { checkState, initialState, type OptimizerState } from "./optimizer.js";
import type { OnSaved, Trainable, TrainablePolicy, Trained, Update } from "./trainable.js";

const PARTS = ["master", "first", "second"] as const satisfies readonly TensorPart[];
/** Beside a checkpoint's state.json. */
const WEIGHTS_FILE = "weights.safetensors";

/**
 * Weights that are trained where they are used. The optimiser's state here is a number, how many updates were made; the
 * engine holds the masters and moments that belong to the newest one, and to the one held for taking back.
 */
export class NativeTrainable implements Trainable {
  readonly slot: 0 | -1;
  readonly inState = false;
  readonly parts = "none";
  readonly #policy: TrainablePolicy;
  readonly #trained: Trained;
  readonly #config: TrainConfig;
  readonly #weights: WeightTraining;
  #tensors: TrainedTensor[] = [];
  #newest = 0;
  #held = -1;

  constructor(policy: TrainablePolicy, trained: Trained, config: TrainConfig) {
    if (!policy.weights) throw new TinyLoraError("ERR_ARGUMENT", "this policy trains vectors only");
    this.slot = trained instanceof Adapter ? 0 : -1;
    this.#policy = policy;
    this.#trained = trained;
    this.#config = config;
    this.#weights = policy.weights;
  }

  get parameters(): number {
    return this.#tensors.reduce((sum, { shape }) => sum + shape.reduce((product, size) => product * size, 1), 0);
  }
  get fingerprint(): string {
    return this.#trained.fingerprint;
  }

  async attach(options?: AttachOptions): Promise<void> {
    if (this.#trained instanceof Adapter) {
      await this.#policy.attach(this.#trained, options);
      this.#tensors = this.#weights.trainBasis();
    } else {
      this.#tensors = this.#weights.trainWeights([...this.#trained.names]);
    }
    this.#newest = 0;
    this.#held = -1;
  }

  firstState(): OptimizerState {
    return initialState(new Float32Array(), this.#config);
  }

  use({ updates }: OptimizerState): number {
    if (updates !== this.#newest) {
      if (updates !== this.#held) {
        throw new TinyLoraError(
          "ERR_STATE",
          `weights: expected those after ${updates} updates, found those after ${this.#newest}`,
        );
      }
      this.#weights.restoreParameters();
      this.#newest = updates;
    }
    return this.#weights.version(this.slot);
  }

  hold(state: OptimizerState): void {
    this.use(state);
    this.#weights.saveParameters();
    this.#held = state.updates;
  }

  update(state: OptimizerState, rate: number): Update {
    this.use(state);
    const config = this.#config;
    const updates = state.updates + 1;
    const options: UpdateOptions = {
      optim: config.optim === "sgd" ? "sgd" : "adamw", // the schema has refused natural
      rate,
      decay: config.weight_decay,
      maxNorm: config.max_grad_norm,
      momentum: config.momentum,
      beta1: config.adam_beta1,
      beta2: config.adam_beta2,
      epsilon: config.adam_epsilon,
      updates,
    };
    let norm: number;
    try {
      norm = this.#weights.updateParameters(options);
    } catch (error) {
      throw ofUpdate(error);
    }
    this.#newest = updates;
    return { state: { ...state, updates }, norm, gradient: null };
  }

  norm(): number {
    return Number.NaN;
  }

  result(state: OptimizerState): Trained {
    this.use(state);
    if (this.#trained instanceof Adapter) return this.#trained.withMatrices(this.#matrices(this.#trained));
    return this.#trained.withWeights(this.#named());
  }

  async save(state: OptimizerState, folder: string, onSaved: OnSaved = () => {}): Promise<void> {
    this.use(state);
    const tensors = this.#places().map(({ key, shape, index, part }, done, { length }) => {
      const data = async () => {
        onSaved(done, length);
        return floatTensor(this.#weights.readParameter(index, part), shape).data;
      };
      return [key, { dtype: "F32", shape, data }] as const;
    });
    await writeSafetensors(join(folder, WEIGHTS_FILE), new Map(tensors), { updates: String(state.updates) });
  }

  async load(state: OptimizerState, folder: string): Promise<void> {
    checkState(state, this.#config);
    const path = join(folder, WEIGHTS_FILE);
    await readingCheckpoint(path, async (file) => {
      const { tensors, metadata } = await decodeCheckpoint(path, () => readSafetensors(file, "its weights"));
      const refuse = (what: string) => new TinyLoraError("ERR_CHECKPOINT", `${path}: ${what}`);
      if (metadata.updates !== String(state.updates))
        throw refuse(`expected the weights after ${state.updates} updates`);
      const found = this.#places().map(({ key, shape, ...place }) => {
        const tensor = tensors.get(key);
        if (tensor?.shape.join() !== shape.join()) throw refuse(`expected ${key} of shape [${shape}]`);
        return { ...place, tensor };
      });
      // One at a time: all of them are three times the weights in fp32.
      for (const { index, part, tensor } of found) {
        this.#weights.writeParameter(index, part, tensorFloats({ ...tensor, data: await tensor.data() }));
      }
    });
    this.#newest = state.updates;
    this.#held = -1;
  }

  async publish(state: OptimizerState, run: string, onSaved?: OnSaved): Promise<void> {
    const trained = this.#trained;
    if (trained instanceof Adapter) return this.result(state).save(join(run, "adapter"));
    this.use(state);
    const numbers = this.#tensors.map(({ name }, index) => {
      return [name, () => this.#weights.readParameter(index, "master")] as const;
    });
    await trained.saveNumbers(join(run, "model"), new Map(numbers), { onProgress: onSaved });
  }

  /** What a checkpoint's file holds of every trained tensor. */
  #places(): { key: string; shape: readonly number[]; index: number; part: TensorPart }[] {
    const parts = this.#config.optim === "adamw" ? PARTS : PARTS.slice(0, 2);
    return this.#tensors.flatMap(({ name, shape }, index) =>
      parts.map((part) => ({ key: `${name}.${part}`, shape, index, part })),
    );
  }

  #named(): NamedWeights {
    return new Map(
      this.#tensors.map(({ name, shape }, index) => [
        name,
        { shape, values: this.#weights.readParameter(index, "master") },
      ]),
    );
  }

  #matrices(adapter: Adapter): AdapterMatrices {
    const weights = this.#named();
    return new Map(
      [...adapter.matrices!].map(([name, { p }]) => {
        const [a, b] = [weights.get(`${name}.lora_A`)!, weights.get(`${name}.lora_B`)!];
        return [name, { a: a.values, b: transposed(b.values, b.shape[1]!), p }];
      }),
    );
  }
}

/** [rows, columns] -> [columns, rows] */
function transposed(values: Float32Array, columns: number): Float32Array {
  const rows = values.length / columns;
  return values.map((_, i) => values[(i % rows) * columns + Math.floor(i / rows)]!);
}
