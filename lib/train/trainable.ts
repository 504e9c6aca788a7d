/**
 * What a run trains, behind one interface: v of an adapter, whose few numbers and moments are kept here, or A and B of
 * an adapter and weights of the model, which stay in native memory with theirs.
 */
import type { Adapter } from "../adapter/adapter.js";
import { FullWeights } from "../adapter/full-weights.js";
import { roundStochastically, roundVector } from "../adapter/vector-dtype.js";
import type { AttachOptions } from "../adapter-slots.js";
import type { TrainConfig } from "../config/schema.js";
import { TinyLoraError } from "../error.js";
import { randomUniform } from "../philox.js";
import type { Policy } from "../policy.js";
import type { Estimate, Parts } from "./gradient-parts.js";
import { NativeTrainable } from "./native-trainable.js";
import { fisherMatrix, MOST_NATURAL } from "./natural.js";
import { norm } from "./norm.js";
import { checkState, clipNorm, initialState, type OptimizerState, update } from "./optimizer.js";
import { attachMembers } from "./perturbation.js";

/** What trainers are given to train. */
export type Trained = Adapter | FullWeights;

/** A policy that adapters can be attached to: Engine is one. */
export interface TrainablePolicy extends Policy {
  /** The engine behind it, where others train on that as well. */
  readonly engine?: object;
  attach(adapter: Adapter, options?: AttachOptions): Promise<void>;
}

export interface Update {
  readonly state: OptimizerState;
  /** Of the gradient before it was cut to max_grad_norm. */
  readonly norm: number;
  /** As it was used, where it is known here. */
  readonly gradient: Float64Array | null;
}

/** Told of tensors written, of all of a file, where there may be gigabytes. */
export type OnSaved = (done: number, total: number) => void;

export interface Trainable<T extends Trained = Trained> {
  /** Numbers that are trained. */
  readonly parameters: number;
  /** Of the base model's weights. */
  readonly fingerprint: string;
  /** Of the sequences that it changes. */
  readonly slot: 0 | -1;
  /** Whether a state holds all that is trained: it can then be saved without the engine. */
  readonly inState: boolean;
  /** How far its gradient is to be told apart in the passes of a step. */
  readonly parts: Parts;
  attach(options?: AttachOptions): Promise<void>;
  firstState(): OptimizerState;
  /** Makes the model the one of this state: the newest, or the one that `hold` was called with. Returns its version. */
  use(state: OptimizerState): number;
  /** Before updates that may have to be taken back by `use`. */
  hold(state: OptimizerState): void;
  /** One step of the optimiser along the estimate, else along the policy's gradients. ERR_NUMERIC where not finite. */
  update(state: OptimizerState, rate: number, estimate?: Estimate): Update;
  /** Euclidean norm of v as it is used; NaN where that is not known here. */
  norm(state: OptimizerState): number;
  /** What the training of `state` made. */
  result(state: OptimizerState): T;
  /** Into a checkpoint's folder: all that `state` itself does not hold; `load` reads it back, whole or with an error. */
  save(state: OptimizerState, folder: string, onSaved?: OnSaved): Promise<void>;
  load(state: OptimizerState, folder: string): Promise<void>;
  /** Into the run's folder: what commands and other programs take. */
  publish(state: OptimizerState, run: string, onSaved?: OnSaved): Promise<void>;
}

export function makeTrainable(policy: TrainablePolicy, trained: Trained, config: TrainConfig): Trainable {
  if (trained instanceof FullWeights || trained.trainsMatrices) return new NativeTrainable(policy, trained, config);
  return new VectorTrainable(policy, trained, config);
}

/** Numbers of v up to which telling gradients apart costs next to nothing. */
const FEW_NUMBERS = 128;

class VectorTrainable implements Trainable<Adapter> {
  readonly slot = 0;
  readonly inState = true;
  readonly #policy: TrainablePolicy;
  readonly #adapter: Adapter;
  readonly #config: TrainConfig;

  constructor(policy: TrainablePolicy, adapter: Adapter, config: TrainConfig) {
    this.#policy = policy;
    this.#adapter = adapter;
    this.#config = config;
    if (config.optim === "natural" && this.parameters > MOST_NATURAL) {
      throw new TinyLoraError(
        "ERR_CONFIG",
        `optim: expected at most ${MOST_NATURAL} trained numbers for natural, found ${this.parameters}: lower u, or tie more modules`,
      );
    }
  }

  get parts(): Parts {
    if (this.#config.optim === "natural") return "sequence";
    return this.parameters <= FEW_NUMBERS ? "group" : "none";
  }
  get parameters(): number {
    return this.#adapter.v.length;
  }
  get fingerprint(): string {
    return this.#adapter.fingerprint;
  }
  attach(options?: AttachOptions): Promise<void> {
    if (this.#config.estimator === "evolution_strategies")
      return attachMembers(this.#policy, this.#adapter, this.#config, options);
    return this.#policy.attach(this.#adapter, options);
  }
  firstState(): OptimizerState {
    const { v } = this.#adapter;
    const { init, seed } = this.#config;
    const start = init === "zero" ? v : v.map((_, i) => 0.02 * (2 * randomUniform(seed, "init", i) - 1));
    return initialState(start, this.#config);
  }
  use(state: OptimizerState): number {
    return this.#policy.setVector(0, this.#rounded(state));
  }
  hold(): void {}
  update(state: OptimizerState, rate: number, estimate?: Estimate): Update {
    const raw = estimate?.gradient ?? this.#policy.gradient(0);
    checkFinite(raw, "the gradient");
    const { scores, tokens } = estimate ?? {};
    const fisher = scores && tokens ? fisherMatrix(scores, tokens) : undefined;
    const { gradient, norm } = clipNorm(raw, fisher ? 0 : this.#config.max_grad_norm);
    const next = update(state, gradient, rate, this.#config, fisher);
    checkFinite(next.master, "v");
    return { state: next, norm, gradient };
  }
  norm(state: OptimizerState): number {
    return norm(this.#rounded(state));
  }
  result(state: OptimizerState): Adapter {
    return this.#adapter.withVector(this.#rounded(state));
  }
  save(state: OptimizerState, folder: string): Promise<void> {
    return this.result(state).save(folder);
  }
  async load(state: OptimizerState): Promise<void> {
    if (state.master.length !== this.parameters) {
      throw new TinyLoraError("ERR_CHECKPOINT", `v: expected ${this.parameters} numbers, found ${state.master.length}`);
    }
    checkState(state, this.#config);
  }
  publish(state: OptimizerState, run: string): Promise<void> {
    return this.result(state).save(`${run}/adapter`);
  }

  /** The master as the adapter's type holds it: what the model uses. A function of the state alone. */
  #rounded({ master, updates }: OptimizerState): Float32Array {
    const { dtype } = this.#adapter.spec;
    const { v_rounding, seed } = this.#config;
    if (v_rounding === "nearest") return roundVector(master, dtype);
    return roundStochastically(master, dtype, (i) => randomUniform(seed, "rounding", updates, i));
  }
}

export function checkFinite(values: ArrayLike<number>, what: string): void {
  for (let i = 0; i < values.length; i++) {
    if (!Number.isFinite(values[i])) {
      throw new TinyLoraError("ERR_NUMERIC", `${what}: expected finite numbers, found ${values[i]}`);
    }
  }
}
