import { TinyLoraError } from "../error.js";
import type { AdapterBasis, LinearModule } from "../native/addon.js";
import { checkOptionNames } from "../option-names.js";
import { packageVersion } from "../version.js";
import { checkRank } from "./basis.js";
import { type AdapterMatrices, readAdapterFile, writeAdapterFile } from "./file.js";
import { ADAPTER_KINDS } from "./kinds.js";
import { targetedModules } from "./modules.js";
import { vectorLength } from "./parameters.js";
import { type AdapterFacts, decodeShort, encodeShort, SHORT_PREFIX } from "./short-string.js";
import { type AdapterOptions, type AdapterSpec, adapterSpec } from "./spec.js";
import { SVD_RECIPE } from "./svd-cache.js";
import { roundVector } from "./vector-dtype.js";

/** The base model, as far as an adapter must know it: an Engine is one. */
export interface AdapterBase {
  readonly fingerprint: string;
  readonly modules: readonly LinearModule[];
}

type CreateOptions = AdapterOptions & { readonly loraAlpha?: number | undefined };

const OPTION_NAMES = {
  kind: true,
  r: true,
  u: true,
  tying: true,
  split: true,
  projection: true,
  targetModules: true,
  dtype: true,
  loraAlpha: true,
} satisfies Record<keyof CreateOptions, true>;

/**
 * A TinyLoRA adapter: what it is made of and its v. Immutable; training makes new ones with `withVector`.
 *
 * @example
 * const adapter = await Adapter.load("runs/gsm8k/adapter"); // or "tl1-..."
 * await engine.attach(adapter);
 */
export class Adapter {
  readonly spec: AdapterSpec;
  /** 16 hex digits over the weights of the base model that it was made for. */
  readonly fingerprint: string;
  readonly svdRecipe: number;
  /** [groups * u], rounded to `spec.dtype`. */
  readonly v: Float32Array;
  /** A, B and P, where the file brought them. */
  readonly matrices: AdapterMatrices | undefined;

  private constructor(facts: AdapterFacts, matrices?: AdapterMatrices) {
    this.spec = facts.spec;
    this.fingerprint = facts.fingerprint;
    this.svdRecipe = facts.svdRecipe;
    this.v = roundVector(facts.v, facts.spec.dtype);
    this.matrices = matrices;
    if (!this.v.every(Number.isFinite)) {
      throw new TinyLoraError(
        "ERR_NUMERIC",
        `v: expected finite numbers in ${this.spec.dtype}, found ${this.v.find((x) => !Number.isFinite(x))}`,
      );
    }
  }

  /**
   * A new adapter of this base model that leaves it exactly what it is: v = 0, or B = 0 for kind lora, whose update is
   * scaled by loraAlpha / r (loraAlpha is r when not given). By default the paper's 13 numbers: rank 2, u 13, one v for all
   * modules. ERR_ARGUMENT for an unknown option, ERR_ADAPTER for options that make none.
   */
  static create(base: AdapterBase, options: CreateOptions = {}): Adapter {
    checkOptionNames("Adapter.create", options, OPTION_NAMES);
    const { loraAlpha, ...rest } = options;
    const spec = adapterSpec(rest);
    checkRank(spec, base.modules);
    const facts = { spec, fingerprint: base.fingerprint, svdRecipe: SVD_RECIPE };
    const { matrices } = ADAPTER_KINDS[spec.kind];
    if (!matrices) return new Adapter({ ...facts, v: new Float32Array(vectorLength(spec, base.modules)) });
    const v = Float32Array.of((loraAlpha ?? spec.r) / spec.r);
    return new Adapter({ ...facts, v }, matrices(spec, targetedModules(base.modules, spec.targetModules)));
  }

  /** Whether A and B are what is trained, and v fixed. */
  get trainsMatrices(): boolean {
    return ADAPTER_KINDS[this.spec.kind].matrices !== undefined;
  }

  /** From a folder, one of its files, a run folder, or a short string. */
  static async load(source: string): Promise<Adapter> {
    const pasted = source.trim();
    if (pasted.startsWith(SHORT_PREFIX)) return new Adapter(decodeShort(pasted));
    const { matrices, ...facts } = await readAdapterFile(source);
    return new Adapter(facts, matrices);
  }

  /** The same adapter with another v, which is rounded to `spec.dtype`. */
  withVector(v: ArrayLike<number>): Adapter {
    if (v.length !== this.v.length) {
      throw new TinyLoraError("ERR_ADAPTER", `v: expected ${this.v.length} numbers, found ${v.length}`);
    }
    return new Adapter({ ...this.#facts(), v: roundVector(v, this.spec.dtype) }, this.matrices);
  }

  /** The same adapter with other A and B. */
  withMatrices(matrices: AdapterMatrices): Adapter {
    return new Adapter(this.#facts(), matrices);
  }

  /** Throws where `base` is not the model that this adapter was made for. */
  checkBase(base: AdapterBase): void {
    if (this.fingerprint !== base.fingerprint) {
      throw new TinyLoraError(
        "ERR_ADAPTER",
        `the adapter was made for another base model: expected weights with fingerprint ${this.fingerprint}, found ${base.fingerprint}`,
      );
    }
    if (this.svdRecipe !== SVD_RECIPE && !this.matrices) {
      throw new TinyLoraError(
        "ERR_ADAPTER",
        `the adapter needs version ${this.svdRecipe} of the SVD, this package has ${SVD_RECIPE}: save it self-contained with the package that made it`,
      );
    }
    const expected = vectorLength(this.spec, base.modules);
    if (this.v.length !== expected) {
      throw new TinyLoraError("ERR_ADAPTER", `v: expected ${expected} numbers for this model, found ${this.v.length}`);
    }
  }

  /**
   * Writes adapter.safetensors and adapter.json. With `basis` (`engine.basis()`) the files hold A, B and P too and need
   * no SVD to be used.
   */
  async save(folder: string, basis?: { modules: readonly LinearModule[]; basis: AdapterBasis }): Promise<void> {
    const matrices = basis ? namedMatrices(basis.modules, basis.basis) : this.matrices;
    await writeAdapterFile(folder, { ...this.#facts(), matrices }, packageVersion());
  }

  /** Short enough to paste: `load` takes it in place of a file. Of an adapter with trained A and B, a name. */
  toString(): string {
    if (this.trainsMatrices) return `${this.spec.kind} of rank ${this.spec.r} for ${this.fingerprint}`;
    return encodeShort(this.#facts());
  }

  #facts(): AdapterFacts {
    return { spec: this.spec, fingerprint: this.fingerprint, svdRecipe: this.svdRecipe, v: this.v };
  }
}

function namedMatrices(modules: readonly LinearModule[], basis: AdapterBasis): AdapterMatrices {
  return new Map(basis.modules.map(({ module, a, b, p }) => [modules[module]!.name, { a, b, p }]));
}
