/** What can be told of a run from its model's files, before the weights are read, which can take minutes. */
import { Adapter } from "../adapter/adapter.js";
import { checkRank } from "../adapter/basis.js";
import { linearModules } from "../adapter/modules.js";
import { adapterOptions } from "../config/adapter-options.js";
import type { TrainConfig } from "../config/schema.js";
import type { Dataset } from "../data/load.js";
import type { Model } from "../model/open.js";
import { makeTrained } from "./make-trained.js";
import { heldOutProblems, type Need, usableProblems } from "./usable.js";

/** Whether what is to be trained is there and fits the model, as far as can be told without its weights. */
export async function checkTrained(config: TrainConfig, model: Model): Promise<void> {
  const options = adapterOptions(config);
  if (!options) return; // its own weights
  const modules = linearModules(model.config);
  if (config.start_from === null) return checkRank(options, modules);
  const { fingerprint } = await Adapter.load(config.start_from);
  await makeTrained({ model, modules, fingerprint, dtype: config.dtype }, config);
}

/** Whether the problems that the run uses fit it, in training and in evaluations. */
export async function checkProblems(
  config: TrainConfig,
  model: Model,
  data: Dataset,
  need: Need,
  signal: AbortSignal | undefined,
): Promise<void> {
  const reader = { model, tokenizer: model.tokenizer, cacheTokens: config.cache_tokens };
  await usableProblems(reader, data.train, config, need, { signal });
  await heldOutProblems(reader, data, config, { signal });
}
