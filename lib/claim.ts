/**
 * Who trains on an engine. Two runs on one would change each other's vectors and add up their gradients together, and
 * adapters attached in the middle of a run would be trained in place of its own; neither could be seen in the results.
 */
import { TinyLoraError } from "./error.js";

export interface Claim {
  /** From now on the engine's adapters stay. */
  fixAdapters(): void;
  release(): void;
}

const claimed = new WeakSet<object>();
const fixed = new WeakSet<object>();

/** For one run, until it is released. ERR_STATE where another one has it. */
export function claim(engine: object): Claim {
  if (claimed.has(engine)) {
    throw new TinyLoraError(
      "ERR_STATE",
      "engine: another run is training on it: wait for that, load a second engine, or train side by side with Population",
    );
  }
  claimed.add(engine);
  return {
    fixAdapters: () => void fixed.add(engine),
    release: () => {
      claimed.delete(engine);
      fixed.delete(engine);
    },
  };
}

/** ERR_STATE where a run is training what is attached. */
export function checkMayAttach(engine: object): void {
  if (fixed.has(engine)) {
    throw new TinyLoraError(
      "ERR_STATE",
      "attach: a run is training on this engine: wait for it, or load a second engine",
    );
  }
}
