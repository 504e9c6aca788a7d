/**
 * Runs side by side on one engine: one copy of the weights and of U, S, V, and one sampling batch for all of them.
 *
 * A member trains by the same loop and step as alone, on a policy of its own whose slot 0 is its slot of the engine.
 * Requests of all members are sampled in one continuous batch; passes keep their own packing and come one member's at a
 * time, between sampling steps. So all of a member's bits are those of the run alone: rows do not depend on their
 * company, and its gradient is added up over the same passes in the same order.
 *
 * Passes of several members are not joined: at 700 rows and more a joined pass was no faster, and needs more memory.
 */
import type { Adapter } from "../adapter/adapter.js";
import type { AttachOptions } from "../adapter-slots.js";
import { TinyLoraError } from "../error.js";
import type { ForwardBatch, ForwardResult, SampleEvent, SampleRequest } from "../native/addon.js";
import { orAborted } from "../native/on-abort.js";
import { type OnProgress, toldOf } from "../native/session.js";
import type { Policy } from "../policy.js";
import type { TrainablePolicy } from "./trainable.js";

/** What members share. Engine is one. */
export interface PopulationEngine extends Policy {
  attach(adapters: readonly Adapter[], options?: AttachOptions): Promise<void>;
  /** What was attached last, slot by slot. */
  readonly adapters: readonly Adapter[];
}

/**
 * While members train, the engine attaches no other adapters and trains nothing else. Once others are attached members
 * reject with ERR_STATE, and where attaching failed with that error: it takes a new population.
 *
 * @example
 * const members = await Population.attach(engine, [1, 2].map((seed) => Adapter.create(engine, { projection: { seed, distribution: "normal" } })));
 * await Promise.all(members.map((policy, i) => new GrpoTrainer({ engine: policy, adapter: policy.adapter, run: `runs/${i}` }).train()));
 */
export class Population {
  readonly members: readonly PopulationMember[];
  readonly #attachAll: () => Promise<void>;
  /** Of members that wait for the SVD. */
  readonly #listeners: OnProgress[] = [];
  #attached: Promise<void> | undefined;
  /** Whose gradients the engine is adding up; the others wait in the order they came. */
  #turn: Promise<void> = Promise.resolve();

  /**
   * Adapters that differ in v and projection alone; slot k is that of member k. The first member that attaches its own
   * attaches all, so that what runs check before comes before the SVD.
   */
  constructor(engine: PopulationEngine, adapters: readonly Adapter[], { signal, onProgress }: AttachOptions = {}) {
    this.members = adapters.map((adapter, slot) => new PopulationMember(engine, this, adapter, slot));
    const tellAll = (done: number, total: number) => {
      onProgress?.(done, total);
      for (const listener of this.#listeners) listener(done, total);
    };
    this.#attachAll = () => engine.attach(adapters, { signal, onProgress: tellAll });
  }

  /** The members of a new population, attached. */
  static async attach(
    engine: PopulationEngine,
    adapters: readonly Adapter[],
    options: AttachOptions = {},
  ): Promise<readonly PopulationMember[]> {
    const population = new Population(engine, adapters, options);
    await population.attach();
    return population.members;
  }

  /** Of all members, once: where it fails, it does for each of them. `listener` hears of the SVD; it does not throw. */
  attach(listener?: OnProgress): Promise<void> {
    if (listener) this.#listeners.push(listener);
    this.#attached ??= this.#attachAll();
    return this.#attached;
  }

  /** Resolves with what ends the turn. At the signal it rejects at once with its reason, and the others keep their order. */
  async takeTurn(signal?: AbortSignal): Promise<() => void> {
    const before = this.#turn;
    let end = () => {};
    this.#turn = new Promise((resolve) => {
      end = resolve;
    });
    try {
      await orAborted(before, signal);
    } catch (error) {
      void before.then(end);
      throw error;
    }
    return end;
  }
}

/** The engine as one member sees it. */
export class PopulationMember implements TrainablePolicy {
  readonly adapter: Adapter;
  readonly #engine: PopulationEngine;
  readonly #population: Population;
  readonly #slot: number;
  /** From the first kept pass until the gradient is read. */
  #endTurn: (() => void) | undefined;
  #gradient: Float64Array | undefined;

  constructor(engine: PopulationEngine, population: Population, adapter: Adapter, slot: number) {
    this.adapter = adapter;
    this.#engine = engine;
    this.#population = population;
    this.#slot = slot;
  }

  /** What the members share. */
  get engine(): object {
    return this.#engine;
  }
  get device(): string {
    return this.#engine.device;
  }
  get model(): Policy["model"] {
    return this.#engine.model;
  }
  get tokenizer(): Policy["tokenizer"] {
    return this.#engine.tokenizer;
  }
  get cacheTokens(): number {
    return this.#engine.cacheTokens;
  }
  memory(): ReturnType<Policy["memory"]> {
    return this.#engine.memory();
  }

  /**
   * With those of the others; it can be nothing else than what the population was made with. At the signal it rejects at
   * once with its reason, and the others go on waiting for the SVD.
   */
  async attach(adapter: Adapter, { signal, onProgress = () => {} }: AttachOptions = {}): Promise<void> {
    if (adapter !== this.adapter) {
      throw new TinyLoraError("ERR_ADAPTER", "attach: expected the adapter that the population was made with");
    }
    await orAborted(
      toldOf((tell) => this.#population.attach(tell), onProgress, signal),
      signal,
    );
    this.#own(0); // others may have been attached since that was done
  }
  setVector(slot: number, v: Float32Array): number {
    this.leave();
    return this.#engine.setVector(this.#own(slot), v);
  }
  submit(request: Omit<SampleRequest, "id">, onEvent: (event: SampleEvent) => void): () => void {
    return this.#engine.submit({ ...request, slot: this.#own(request.slot) }, onEvent);
  }

  async forward(batch: ForwardBatch, signal?: AbortSignal): Promise<ForwardResult> {
    if (batch.keep && !this.#endTurn) {
      this.#endTurn = await this.#population.takeTurn(signal);
      this.#engine.zeroGradients();
    }
    return this.#engine.forward({ ...batch, slots: batch.slots.map((slot) => this.#own(slot)) }, signal);
  }
  backward(dLogprobs: Float32Array, signal?: AbortSignal): Promise<void> {
    return this.#engine.backward(dLogprobs, signal);
  }
  backwardParts(dLogprobs: Float32Array, parts: Int32Array, slot: number, signal?: AbortSignal): Promise<Float64Array> {
    return this.#engine.backwardParts(dLogprobs, parts, this.#own(slot), signal);
  }
  /** Zeros without a kept pass since they were zeroed. */
  gradient(slot: number): Float64Array {
    this.#gradient ??= this.#endTurn ? this.#engine.gradient(this.#own(slot)) : new Float64Array(this.adapter.v.length);
    this.leave();
    return this.#gradient;
  }
  zeroGradients(): void {
    this.#gradient = undefined;
    if (this.#endTurn) this.#engine.zeroGradients();
  }

  /** Gives up what was added to the gradient, so that the others go on. To be called when the member's run has ended. */
  leave(): void {
    this.#endTurn?.();
    this.#endTurn = undefined;
  }

  #own(slot: number): number {
    if (slot < 0) return slot;
    if (this.#engine.adapters[this.#slot] !== this.adapter) {
      throw new TinyLoraError(
        "ERR_STATE",
        `population: expected the adapters that it was made with in the engine's slots, found another in slot ${this.#slot}: make a new population`,
      );
    }
    return this.#slot;
  }
}
