import { Adapter } from "./adapter/adapter.js";
import { checkIsAdapter } from "./adapter-slots.js";
import type { Engine } from "./engine.js";
import { TinyLoraError } from "./error.js";
import { orAborted } from "./native/on-abort.js";

interface Held {
  readonly slot: number;
  /** When the adapter is in the slot. */
  readonly ready: Promise<void>;
  /** Calls that use it. */
  users: number;
}

/**
 * Any number of adapters in the slots of one engine. An adapter is put into a slot when it is first used, in place of the
 * one that has been out of use for longest; sampling from other slots goes on meanwhile. The pool attached the slots:
 * nobody else should attach or replace.
 *
 * @example
 * const pool = await AdapterPool.open(engine, 256);
 * const [answer] = await pool.use(adapter, (slot) => engine.generate(prompt, { adapter: slot }));
 */
export class AdapterPool {
  readonly #engine: Engine;
  /** By short string, the one that has been out of use for longest first. */
  readonly #held = new Map<string, Held>();
  readonly #free: number[];
  /** Calls that wait for a slot. */
  readonly #waiting: (() => void)[] = [];

  private constructor(engine: Engine) {
    this.#engine = engine;
    this.#free = Array.from({ length: engine.slots }, (_, slot) => engine.slots - 1 - slot);
  }

  /**
   * All adapters must differ from `like` in v only, also in no projection seed; when not given, from the paper's 13
   * numbers (`Adapter.create`).
   */
  static async open(engine: Engine, slots: number, like: Adapter = Adapter.create(engine)): Promise<AdapterPool> {
    if (!Number.isInteger(slots) || slots < 1 || slots > 1 << 16) {
      throw new TinyLoraError("ERR_ARGUMENT", `slots: expected a whole number from 1 to ${1 << 16}, found ${slots}`);
    }
    if (like.trainsMatrices) {
      throw new TinyLoraError(
        "ERR_ADAPTER",
        `adapters of kind ${like.spec.kind} differ in A and B: none shares its basis`,
      );
    }
    await engine.attach(new Array<Adapter>(slots).fill(like));
    return new AdapterPool(engine);
  }

  /**
   * What `work` gives for the slot that has `adapter`, which stays in it until then. Where calls with other adapters use
   * all slots it waits for one; the signal ends this waiting. Rejects as `engine.replace` does.
   */
  async use<T>(
    adapter: Adapter,
    work: (slot: number) => PromiseLike<T>,
    options: { readonly signal?: AbortSignal | undefined } = {},
  ): Promise<T> {
    checkIsAdapter("use", adapter);
    const key = `${adapter}`;
    let held = this.#hold(key, adapter);
    while (!held) {
      await orAborted(new Promise<void>((wake) => this.#waiting.push(wake)), options.signal);
      held = this.#hold(key, adapter);
    }
    try {
      await held.ready;
      return await work(held.slot);
    } finally {
      held.users--;
      for (const wake of this.#waiting.splice(0)) wake();
    }
  }

  /** Counts one more use of the adapter; undefined where it has no slot and gets none. */
  #hold(key: string, adapter: Adapter): Held | undefined {
    const held = this.#held.get(key) ?? this.#fill(key, adapter);
    if (!held) return undefined;
    this.#held.delete(key); // to the end of the order
    this.#held.set(key, held);
    held.users++;
    return held;
  }

  #fill(key: string, adapter: Adapter): Held | undefined {
    const slot = this.#free.pop() ?? this.#takeBack();
    if (slot === undefined) return undefined;
    const ready = this.#engine.replace(slot, adapter);
    ready.catch(() => {
      this.#held.delete(key);
      this.#free.push(slot);
    });
    return { slot, ready, users: 0 };
  }

  #takeBack(): number | undefined {
    for (const [key, { slot, users }] of this.#held) {
      if (users === 0 && this.#held.delete(key)) return slot;
    }
    return undefined;
  }
}
