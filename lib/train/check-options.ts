import { isDeepStrictEqual } from "node:util";
import { Adapter } from "../adapter/adapter.js";
import { FullWeights } from "../adapter/full-weights.js";
import { resolveConfig } from "../config/config.js";
import type { TrainOptions } from "../config/schema.js";
import { TinyLoraError } from "../error.js";
import { isObject } from "../is-object.js";
import { checkOptionNames } from "../option-names.js";
import { show } from "../show.js";
import type { GrpoTrainerOptions, TrainerOptions } from "./grpo-trainer.js";
import type { Trained } from "./trainable.js";

const OPTION_NAMES = {
  engine: true,
  adapter: true,
  config: true,
  data: true,
  run: true,
  resume: true,
} satisfies Record<keyof TrainerOptions, true>;

/** What callers without types, or with data of their own, may get wrong: ERR_ARGUMENT, which names the key. */
export function checkOptions(options: TrainerOptions<Trained>): void {
  checkOptionNames("options", options, OPTION_NAMES);
  checkShared(options);
}

/** The same of those that have rewards. */
export function checkRewardedOptions(options: GrpoTrainerOptions<Trained>): void {
  checkOptionNames("options", options, { ...OPTION_NAMES, rewards: true });
  checkShared(options);
  if (options.rewards !== undefined) checkRewards(options.rewards, options.config);
}

function checkShared(options: TrainerOptions<Trained>): void {
  const { engine, adapter, config, data, run, resume } = options;
  if (!isObject(engine) || typeof engine.submit !== "function") throw wrong("engine", "an Engine", engine);
  if (!(adapter instanceof Adapter || adapter instanceof FullWeights)) {
    throw wrong("adapter", "an Adapter or FullWeights", adapter);
  }
  if (config !== undefined && !isObject(config)) throw wrong("config", "keys and values", config);
  if (data !== undefined) checkData(data, config);
  if (run !== undefined && typeof run !== "string") throw wrong("run", "the path of a folder", run);
  if (resume && run === undefined) {
    throw new TinyLoraError("ERR_ARGUMENT", "resume: expected the folder of a run in `run`");
  }
}

function checkData(data: unknown, config: TrainOptions = {}): void {
  if (!isObject(data)) throw wrong("data", "an object with name, train and test", data);
  if (typeof data.name !== "string") throw wrong("data.name", "a text", data.name);
  for (const part of ["train", "test"] as const) {
    const examples = data[part];
    if (!Array.isArray(examples)) throw wrong(`data.${part}`, "an array of problems", examples);
    for (const [i, example] of examples.entries()) checkExample(`data.${part}[${i}]`, example);
  }
  const { eval_data = null } = config;
  if (eval_data === null || eval_data === data.testOf) return;
  throw new TinyLoraError(
    "ERR_CONFIG",
    `eval_data: expected nothing beside data of one's own, whose \`test\` is evaluated, found ${show(eval_data)}`,
  );
}

function checkExample(place: string, example: unknown): void {
  if (!isObject(example)) throw wrong(place, "a problem", example);
  for (const key of ["id", "question", "answer"]) {
    if (typeof example[key] !== "string") throw wrong(`${place}.${key}`, "a text", example[key]);
  }
  if (!isObject(example.row)) throw wrong(`${place}.row`, "an object, {} where there is nothing more", example.row);
}

function checkRewards(rewards: unknown, config: TrainOptions = {}): void {
  if (!isObject(rewards)) throw wrong("rewards", "functions by name", rewards);
  for (const [name, reward] of Object.entries(rewards)) {
    if (typeof reward !== "function") throw wrong(`rewards.${name}`, "a function", reward);
  }
  const kept = [resolveConfig({}).rewards, Object.keys(rewards)];
  if (config.rewards === undefined || kept.some((names) => isDeepStrictEqual(names, config.rewards))) return;
  throw new TinyLoraError(
    "ERR_CONFIG",
    `config.rewards: expected nothing beside \`rewards\`, whose functions are used, found ${show(config.rewards)}`,
  );
}

function wrong(key: string, expected: string, found: unknown): TinyLoraError {
  return new TinyLoraError("ERR_ARGUMENT", `${key}: expected ${expected}, found ${show(found)}`);
}
