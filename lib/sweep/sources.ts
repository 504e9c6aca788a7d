import { adapterOptions } from "../config/adapter-options.js";
import { type Dataset, isOnHub } from "../data/load.js";
import { TinyLoraError } from "../error.js";
import { findModel } from "../find-model.js";
import { groupBy } from "../group-by.js";
import { type Model, openModel } from "../model/open.js";
import { checkDevice } from "../native/device.js";
import { namedRewards } from "../reward/rewards.js";
import { checkProblems, checkTrained } from "../train/check-files.js";
import { trainingData } from "../train/training-data.js";
import { type Need, needOf } from "../train/usable.js";
import type { Member } from "./member.js";
import type { SweepPlan } from "./sweep-file.js";

/**
 * Opens all that the members name, without weights and without the hub: devices, models, problems, rewards and the
 * adapters that training starts from. What is not there, or does not fit (a problem in the model's context, the sampler's
 * cache or a pass), would end every member that needs it: one error tells it before anything runs, with the sweep's name
 * and how many members that are.
 */
export async function checkSources({ source, members }: SweepPlan, signal?: AbortSignal): Promise<void> {
  const check = async (chosen: readonly Member[], name: (member: Member) => unknown, open: Opener) => {
    for (const group of groupBy(chosen, (member) => JSON.stringify(name(member)))) {
      signal?.throwIfAborted();
      await open(group[0]!).catch((cause) => {
        if (!(cause instanceof TinyLoraError)) throw cause;
        const { length } = group;
        const where = length === members.length ? "" : ` (in ${length} of ${members.length} members)`;
        throw new TinyLoraError(cause.code, `${source}: ${cause.message}${where}`, { cause });
      });
    }
  };
  await check(
    members,
    ({ config }) => config.device,
    async ({ config }) => checkDevice(config.device),
  );
  const models = new Map<string, Model>();
  const modelOf = ({ config }: Member) => models.get(findModel(config.model))!;
  await check(
    members,
    ({ config }) => config.model,
    async ({ config: { model } }) => void models.set(findModel(model), await openModel(findModel(model))),
  );
  const local = members.filter(({ config }) => !isOnHub(config.data) && !isOnHub(config.eval_data ?? ""));
  const datasets = new Map<string, Dataset>();
  await check(local, dataKey, async (member) => {
    datasets.set(dataKey(member), await trainingData({}, member.config, { signal }));
  });
  const needs = new Map<string, Need>();
  const rewardsKey = ({ method, config }: Member) => JSON.stringify(method === "sft" ? method : config.rewards);
  await check(members, rewardsKey, async (member) => {
    const { method, config } = member;
    needs.set(
      rewardsKey(member),
      method === "sft" ? "solution" : needOf(await namedRewards(undefined, config, signal)),
    );
  });
  await check(
    members,
    ({ config }) => [config.model, adapterOptions(config), config.start_from],
    (member) => checkTrained(member.config, modelOf(member)),
  );
  await check(
    local,
    (member) => [dataKey(member), rewardsKey(member), PROBLEM_OPTIONS.map((key) => member.config[key])],
    (member) => {
      const need = needs.get(rewardsKey(member))!;
      return checkProblems(member.config, modelOf(member), datasets.get(dataKey(member))!, need, signal);
    },
  );
}

type Opener = (member: Member) => Promise<void>;

/** What decides the problems of a member. */
function dataKey({ config }: Member): string {
  return JSON.stringify([
    ...[config.data, config.question_column, config.answer_column, config.skip_bad],
    ...[config.eval_data, config.eval_question_column, config.eval_answer_column],
  ]);
}

/** What decides, besides, which of them a member uses and how much room each has. */
const PROBLEM_OPTIONS = [
  ...(["model", "cache_tokens", "token_budget", "estimator", "max_completion_length"] as const),
  ...(["prompt_style", "shots", "system", "suffix"] as const),
  ...(["seed", "max_steps", "num_prompts", "eval_examples"] as const),
];
