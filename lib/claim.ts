/**
 * Who trains on an engine. Two runs on one would change each other's vectors and add up their gradients together, and
 * adapters attached in the middle of a run would be trained in place of its own; neither could be seen in the results.
 */
import { TinyLoraError } from "./error.js";

interface Claim {
  /** From now on the engine's adapters stay. */
  fixAdapters(): void;
  release(): void;
}

/** What a run trains on: an engine, or a member of a population, which shares its engine with the others. */
interface Claimable {
  readonly engine?: object;
}

/** Of each engine the runs that have it, by what they train on: whether their adapters are attached. */
const runsOn = new WeakMap<object, Map<object, { attached: boolean }>>();

/** For one run, until it is released. ERR_STATE where another one has it: a member, or one that has the whole engine. */
export function claim(policy: Claimable): Claim {
  const engine = policy.engine ?? policy;
  const runs = runsOn.get(engine) ?? new Map<object, { attached: boolean }>();
  if (engine === policy ? runs.size > 0 : runs.has(policy) || runs.has(engine)) {
    throw new TinyLoraError(
      "ERR_STATE",
      "engine: another run is training on it: wait for that, load a second engine, or train side by side with Population",
    );
  }
  const run = { attached: false };
  runs.set(policy, run);
  runsOn.set(engine, runs);
  return {
    fixAdapters: () => {
      run.attached = true;
    },
    release: () => void runs.delete(policy),
  };
}

/** ERR_STATE where a run is training what is attached. */
export function checkMayAttach(engine: object, call = "attach"): void {
  const runs = [...(runsOn.get(engine)?.values() ?? [])];
  if (runs.some(({ attached }) => attached)) {
    throw new TinyLoraError(
      "ERR_STATE",
      `${call}: a run is training on this engine: wait for it, or load a second engine`,
    );
  }
}
