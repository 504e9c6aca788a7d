import { Adapter } from "../adapter/adapter.js";
import { checkRank } from "../adapter/basis.js";
import { FullWeights } from "../adapter/full.js";
import { linearModules } from "../adapter/modules.js";
import { adapterOptions } from "../config/adapter-options.js";
import type { TrainConfig } from "../config/schema.js";
import { isOnHub } from "../data/load.js";
import { TinyLoraError } from "../error.js";
import { findModel } from "../find-model.js";
import { groupBy } from "../group-by.js";
import { type Model, openModel } from "../model/open.js";
import { checkDevice } from "../native/device.js";
import { namedRewards } from "../reward/rewards.js";
import { makeTrained } from "../train/make-trained.js";
import { trainingData } from "../train/train-run.js";
import type { Member } from "./member.js";
import type { SweepPlan } from "./sweep-file.js";

/**
 * Opens all that the members name, without weights and without the hub: devices, models, problems, rewards and the
 * adapters that training starts from. What is not there, or does not fit, would end every member that needs it: one
 * error tells it before anything runs, with the sweep's name and how many members that are.
 */
export async function checkSources({ source, members }: SweepPlan, signal?: AbortSignal): Promise<void> {
  const check = async (chosen: readonly Member[], name: (config: TrainConfig) => unknown, open: Opener) => {
    for (const group of groupBy(chosen, ({ config }) => JSON.stringify(name(config)))) {
      signal?.throwIfAborted();
      await open(group[0]!.config).catch((cause) => {
        if (!(cause instanceof TinyLoraError)) throw cause;
        const { length } = group;
        const where = length === members.length ? "" : ` (in ${length} of ${members.length} members)`;
        throw new TinyLoraError(cause.code, `${source}: ${cause.message}${where}`, { cause });
      });
    }
  };
  await check(
    members,
    ({ device }) => device,
    async ({ device }) => checkDevice(device),
  );
  const models = new Map<string, Model>();
  await check(
    members,
    ({ model }) => model,
    async ({ model }) => void models.set(findModel(model), await openModel(findModel(model))),
  );
  const local = members.filter(({ config }) => !isOnHub(config.data) && !isOnHub(config.eval_data ?? ""));
  await check(
    local,
    (config) => [
      ...[config.data, config.question_column, config.answer_column, config.skip_bad],
      ...[config.eval_data, config.eval_question_column, config.eval_answer_column],
    ],
    async (config) => void (await trainingData({}, config, { signal })),
  );
  const rewarded = members.filter(({ method }) => method === "grpo");
  await check(
    rewarded,
    ({ rewards }) => rewards,
    async (config) => void (await namedRewards(undefined, config, signal)),
  );
  await check(
    members,
    (config) => [config.model, adapterOptions(config), config.target_modules, config.start_from],
    (config) => checkTrained(config, models.get(findModel(config.model))!),
  );
}

type Opener = (config: TrainConfig) => Promise<void>;

/** Whether what is to be trained is there and fits the model, as far as can be told without its weights. */
async function checkTrained(config: TrainConfig, model: Model): Promise<void> {
  const modules = linearModules(model.config);
  const options = adapterOptions(config);
  if (!options) {
    FullWeights.of({ model, fingerprint: "", dtype: config.dtype }, config.target_modules ?? undefined);
  } else if (config.start_from === null) {
    checkRank(options, modules);
  } else {
    const { fingerprint } = await Adapter.load(config.start_from);
    await makeTrained({ model, modules, fingerprint, dtype: config.dtype }, config);
  }
}
