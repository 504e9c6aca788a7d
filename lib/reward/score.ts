import type { Example } from "../data/example.js";
import { TinyLoraError } from "../error.js";
import { givenText, textOf } from "./given-text.js";
import { ModuleReward, ThrownThere } from "./module-reward.js";
import type { NamedReward } from "./reward.js";
import { isBuiltIn } from "./rewards.js";
import { inTime, type Limit } from "./time-limit.js";

/**
 * The rewards of one completion, in their order. A reward that throws, takes longer than `timeout` seconds or gives
 * anything but a finite number or null stops the run with a message that names it and the example: to go on would train
 * on something nobody meant. At the signal nobody waits for it any more.
 */
export function score(
  rewards: readonly NamedReward[],
  completion: string,
  example: Example,
  timeout: number,
  signal?: AbortSignal,
): Promise<(number | null)[]> {
  return Promise.all(rewards.map((reward) => scoreOne(reward, completion, example, timeout, signal)));
}

async function scoreOne(
  { name, reward }: NamedReward,
  completion: string,
  example: Example,
  timeout: number,
  signal: AbortSignal | undefined,
): Promise<number | null> {
  const fail = (problem: string, cause?: unknown) =>
    new TinyLoraError("ERR_REWARD", `reward "${name}" on ${example.id}: ${problem}`, { cause });
  const late = () => fail(`no value within ${timeout} s`);
  let value: unknown;
  try {
    value = await called(reward, completion, example, { seconds: timeout, late, signal });
  } catch (cause) {
    signal?.throwIfAborted();
    if (cause instanceof ThrownThere) throw fail(`threw ${cause.message}`, cause);
    if (cause instanceof TinyLoraError && cause.code === "ERR_REWARD") throw cause;
    throw fail(`threw ${textOf(cause)}`, cause);
  }
  if (value === null || (typeof value === "number" && Number.isFinite(value))) return value;
  const found = reward instanceof ModuleReward ? textOf(value) : givenText(value);
  throw fail(`expected a finite number or null, found ${found}`);
}

function called(reward: NamedReward["reward"], completion: string, example: Example, limit: Limit): unknown {
  if (reward instanceof ModuleReward) return reward.call(completion, example, limit);
  const call = () => reward(completion, example);
  return isBuiltIn(reward) ? call() : inTime(call, limit);
}
