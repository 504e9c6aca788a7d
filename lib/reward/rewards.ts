import { existsSync } from "node:fs";
import { resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { nearest } from "../config/nearest.js";
import type { TrainConfig } from "../config/schema.js";
import { TinyLoraError } from "../error.js";
import { answerReward, strictReward } from "./answer-reward.js";
import { digitsReward } from "./digits-reward.js";
import { formatReward } from "./format-reward.js";
import { ModuleReward, ThrownThere } from "./module-reward.js";
import type { NamedReward, Reward } from "./reward.js";
import type { Limit } from "./time-limit.js";

/** The rewards that can be named. To add one: a file beside these and a line here. */
export const rewards: Readonly<Record<string, Reward>> = {
  answer: answerReward,
  strict: strictReward,
  format: formatReward,
  digits: digitsReward,
};

/** Whether it is one of this package's own, which are never slow. */
export function isBuiltIn(reward: NamedReward["reward"]): reward is Reward {
  return Object.values(rewards).some((own) => own === reward);
}

/** Ends of a module's name. */
const MODULE = /\.[cm]?[jt]s$/;

/**
 * Those that were given, else what `config.rewards` stand for, each under a name of its own; `reward_timeout` holds for
 * loading too.
 */
export async function namedRewards(
  given: Readonly<Record<string, Reward>> | undefined,
  { rewards: sources, reward_timeout: seconds }: Pick<TrainConfig, "rewards" | "reward_timeout">,
  signal?: AbortSignal,
): Promise<NamedReward[]> {
  if (given) return Object.entries(given).map(([name, reward]) => ({ name, reward }));
  const late = () => new TinyLoraError("ERR_CONFIG", `not loaded within ${seconds} s (reward_timeout)`);
  const named = await Promise.all(sources.map((source) => loadReward(source, { seconds, late, signal })));
  for (const [i, { name }] of named.entries()) {
    const first = named.findIndex((other) => other.name === name);
    if (first === i) continue;
    throw new TinyLoraError(
      "ERR_CONFIG",
      `rewards: expected different names, found ${sources[first]} and ${sources[i]}, which are both "${name}" in the metrics`,
    );
  }
  return named;
}

/** A built-in reward by name, or the default export of a module by path (it must contain a / or end as modules do). */
async function loadReward(source: string, limit: Limit): Promise<NamedReward> {
  const builtIn = Object.hasOwn(rewards, source) ? rewards[source] : undefined;
  if (builtIn) return { name: source, reward: builtIn };
  if (!/[\\/]/.test(source) && !MODULE.test(source)) {
    const names = Object.keys(rewards);
    throw new TinyLoraError(
      "ERR_CONFIG",
      `rewards: expected one of ${names.join(", ")} (nearest: ${nearest(source, names)}) or a module's path, found "${source}"`,
    );
  }
  const path = resolve(source);
  if (!existsSync(path)) throw new TinyLoraError("ERR_FILE", `rewards: ${source} cannot be loaded: no such file`);
  const name = source.replace(/^.*[\\/]/, "").replace(MODULE, "");
  try {
    return { name, reward: await ModuleReward.load(pathToFileURL(path).href, limit) };
  } catch (cause) {
    limit.signal?.throwIfAborted();
    if (cause instanceof TinyLoraError) {
      throw new TinyLoraError(cause.code, `rewards: ${source}: ${cause.message}`, { cause });
    }
    const { message } = cause as Error;
    const why = /^Unknown file extension "\.[cm]?ts"/.test(message)
      ? `Node runs TypeScript from 22.18 on, found ${process.versions.node}`
      : cause instanceof ThrownThere
        ? `${message} (\`node ${source}\` says in which line)` // an import says so in the stack of some errors only
        : message;
    throw new TinyLoraError("ERR_FILE", `rewards: ${source} cannot be loaded: ${why}`, { cause });
  }
}
