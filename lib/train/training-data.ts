import { resolve } from "node:path";
import type { TrainConfig } from "../config/schema.js";
import { leavingOut, passes } from "../data/broken.js";
import { type Columns, checkAnswer } from "../data/columns.js";
import type { Example } from "../data/example.js";
import { type Dataset, isNamed, loadDataset } from "../data/load.js";
import { TinyLoraError } from "../error.js";
import type { TrainerOptions } from "./grpo-trainer.js";
import type { TrainCallbacks } from "./run.js";
import type { Trained } from "./trainable.js";

/** The problems that a trainer was given, or else those that the options name. */
export async function trainingData(
  options: Pick<TrainerOptions<Trained>, "data">,
  config: TrainConfig,
  { signal, onWarning = () => {}, onProgress: listener = () => {} }: TrainCallbacks,
): Promise<Dataset> {
  const onProgress = (done: number, total: number) => listener({ phase: "fetching", done, total });
  const { question_column, answer_column, skip_bad } = config;
  const load = async (source: string, columns: Columns, check: (problem: Example) => void = () => {}) => {
    const { train, test, ...dataset } = await loadDataset(source, { ...columns, skip_bad, signal, onProgress });
    const skipped = [...(dataset.skipped ?? [])];
    const onBroken = leavingOut(skip_bad, skipped);
    const fits = (problem: Example) => passes(onBroken, () => check(problem));
    const checked = { ...dataset, train: train.filter(fits), test: test.filter(fits) };
    if (skipped.length > 0) onWarning(`${source}: ${skipped.length} broken rows left out, the first: ${skipped[0]}`);
    return checked;
  };
  const data = options.data ?? (await load(config.data, { question_column, answer_column }));
  if (data.train.length === 0) {
    throw new TinyLoraError("ERR_DATA", `data: ${data.name} has no problems for training, only for evaluation`);
  }
  if (config.eval_data === null || options.data) return data;
  const { train, test, cut } = await load(config.eval_data, evalColumns(config), (problem) =>
    checkAnswer(problem, "eval_answer_column"),
  );
  // One's own problems are evaluated all of them, unless the run trains on some; a named set's are the part that others
  // report.
  const whole = cut && !isNamed(config.eval_data) && resolve(config.eval_data) !== resolve(config.data);
  const heldOut = whole ? [...train, ...test] : test.length > 0 ? test : train;
  if (heldOut.length === 0) throw new TinyLoraError("ERR_DATA", `eval_data: ${config.eval_data} has no whole problems`);
  return { ...data, test: heldOut, testOf: config.eval_data };
}

/** A named set has columns of its own; another one those of the training data, unless it is given others. */
function evalColumns(config: TrainConfig): Columns {
  const shared = isNamed(config.eval_data!) ? { question_column: null, answer_column: null } : config;
  return {
    question_column: config.eval_question_column ?? shared.question_column,
    answer_column: config.eval_answer_column ?? shared.answer_column,
  };
}
