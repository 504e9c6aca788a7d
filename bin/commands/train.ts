import type { Command } from "commander";
import { environmentOptions } from "../../lib/config/env.js";
import { flagOf } from "../../lib/config/fields.js";
import { checkMethod, noEffect, unusedBy } from "../../lib/config/method.js";
import {
  Adapter,
  adapterOptions,
  type Dataset,
  findModel,
  GrpoTrainer,
  type Method,
  makeTrained,
  readConfigFile,
  readRunInfo,
  resolveConfig,
  SftTrainer,
  type Progress as StepProgress,
  type StepReport,
  TinyLoraError,
  type TrainConfig,
  type Trained,
  type TrainResult,
} from "../../lib/index.js";
import { openModel } from "../../lib/model/open.js";
import { namedRewards } from "../../lib/reward/rewards.js";
import { checkStepsMade, RESUMABLE, stepsMade } from "../../lib/run/folder.js";
import { checkProblems, checkTrained } from "../../lib/train/check-files.js";
import { checkRunFolder } from "../../lib/train/open-run.js";
import { checkOwnRewards } from "../../lib/train/own-rewards.js";
import { trainingData } from "../../lib/train/training-data.js";
import { needOf } from "../../lib/train/usable.js";
import { parseName } from "../arguments.js";
import { loadEngine } from "../engine.js";
import { interruptible } from "../exit.js";
import { addMethodFields, checkUsed, givenFields } from "../flags.js";
import { quoted } from "../io.js";
import { Progress } from "../progress.js";

const AFTER = `
Ctrl-C gives up the step under way, saves the last finished one and leaves a run that can be resumed. A second Ctrl-C stops
at once.`;

const GRPO_EXAMPLES = `
Examples:
  $ npx tinylora-native train                                   13 numbers on GSM8K, with the model in ../shared/models
  $ npx tinylora-native train --model Qwen2.5-0.5B-Instruct --data svamp --max-steps 100
  $ npx tinylora-native train --config run.yaml --learning-rate 1e-3     flags over the file
  $ npx tinylora-native train --adapter lora --r 8 --learning-rate 1e-4  or lora_xs, full
  $ npx tinylora-native train --adapter lora --r 8 --start-from adapters/mine    go on from an adapter, as \`import\` makes them
  $ npx tinylora-native train --resume runs/svamp               go on where it stopped, bit for bit
${AFTER}`;

const SFT_EXAMPLES = `
Examples:
  $ npx tinylora-native sft --data gsm8k --adapter full --learning-rate 1e-5 --lr-scheduler-type cosine --run runs/lessons
  $ npx tinylora-native sft --data lessons.jsonl --adapter lora --r 8    rows with "question" and "solution"
  $ npx tinylora-native eval --model runs/lessons --data gsm8k    what full fine-tuning leaves is a model
${AFTER}`;

/** Letters of an adapter's string; that of 64 numbers in fp32 has some 380. */
const MOST_PASTED = 500;

export interface TrainingFlags {
  config?: string;
  run?: string;
  resume?: string;
}

export function trainCommand(program: Command): void {
  addCommand(program, "grpo", "train", "train an adapter, or the model, by GRPO", GRPO_EXAMPLES);
}

export function sftCommand(program: Command): void {
  addCommand(program, "sft", "sft", "train an adapter, or the model, on worked answers", SFT_EXAMPLES);
}

function addCommand(program: Command, method: Method, name: string, description: string, examples: string): void {
  const command = program.command(name).description(description).addHelpText("after", examples);
  addTrainingFlags(command, method);
  command.action((options: TrainingFlags) => runTraining(command, method, options));
}

/** Every option of the method, and where a run comes from and goes to. */
export function addTrainingFlags(command: Command, method: Method): void {
  const unused = unusedBy(method, RESUMABLE);
  const resumable = RESUMABLE.filter((key) => !unused.includes(key));
  command
    .option("--config <file>", "YAML or JSON file of options; flags override it", parseName)
    .option("--run <folder>", "folder of the run (default: runs/DATA-TIME)", parseName)
    .option(
      "--resume <run>",
      `go on with the run in this folder by its own options; of the flags, only ${resumable.map(flagOf).join(", ")} apply`,
      parseName,
    );
  addMethodFields(command, method);
}

export async function runTraining(command: Command, method: Method, options: TrainingFlags): Promise<void> {
  const config = await trainConfig(givenFields(command), method, options);
  const path = options.resume ?? options.run ?? defaultRun(config);
  const resume = options.resume !== undefined;
  config.model = findModel(config.model);
  const learns = await methodOf(method, options);
  let progress: TrainingProgress | undefined;
  const interrupted = () =>
    console.error(`\ninterrupted${progress?.trains ? ": saving the last finished step" : ""} (again to stop at once)`);
  await interruptible(async (signal) => {
    // What is wrong is told before the model is loaded, which can take minutes.
    await checkRunFolder(path, resume);
    const data = await checkedData(config, learns, signal);
    const engine = await loadEngine(config, signal);
    try {
      const adapter = await makeTrained(engine, config);
      const Trainer = learns === "grpo" ? GrpoTrainer<Trained> : SftTrainer<Trained>;
      const trainer = new Trainer({ engine, adapter, data, config, run: path, resume });
      const shown = new TrainingProgress(config.max_steps, resume ? await stepsMade(path) : 0);
      progress = shown;
      console.error(`training ${config.adapter} of ${config.model} on ${config.data}: ${path}`);
      const { onStep, onProgress } = shown;
      const result = await trainer.train({ signal, onStep, onProgress, onWarning }).finally(() => shown.stop());
      if (result.stopped === "finished" && !shown.stepped) {
        console.error(`nothing to do: the run has made its ${result.step} steps; --max-steps lets it make more`);
      }
      tellTrained(result, path);
      if (result.stopped === "aborted") {
        const name = method === "grpo" ? "train" : "sft";
        console.error(
          `stopped after step ${result.step}: go on with \`npx tinylora-native ${name} --resume ${quoted(path)}\``,
        );
        signal.throwIfAborted();
      }
    } finally {
      engine.dispose();
    }
  }, interrupted);
}

function onWarning(message: string): void {
  console.error(`warning: ${message}`);
}

/** The data of a run whose files, rewards and problems fit one another, as far as can be told without weights. */
async function checkedData(config: TrainConfig, method: Method, signal: AbortSignal): Promise<Dataset> {
  adapterOptions(config); // of options that make none it tells before anything is fetched
  const fetching = new Progress("fetching", "B");
  const onProgress = ({ done, total }: { done: number; total: number }) => fetching.update(done, total);
  const data = await trainingData({}, config, { signal, onWarning, onProgress }).finally(() => fetching.stop());
  const need = method === "grpo" ? needOf(await namedRewards(undefined, config, signal)) : "solution";
  const model = await openModel(config.model!);
  await checkTrained(config, model);
  await checkProblems(config, model, data, need, signal);
  return data;
}

/** A bar, and a line for each step. */
class TrainingProgress {
  /** Whether the steps have begun. */
  trains = false;
  /** Whether one was made, or the model evaluated before the first. */
  stepped = false;
  readonly #bar: Progress;
  readonly #steps: number;
  #finished: number;

  constructor(steps: number, made: number) {
    this.#bar = new Progress("training", " steps", made);
    this.#steps = steps;
    this.#finished = made;
  }

  onStep = (report: StepReport): void => {
    this.#begin();
    this.#bar.stop();
    this.stepped = true;
    this.#finished = report.step;
    console.log(stepLine(report));
    this.#bar.update(report.step, report.steps);
  };

  onProgress = ({ phase, done, total }: StepProgress): void => {
    if (phase !== "SVD") this.#begin();
    this.#bar.update(this.#finished, this.#steps, `${phase} ${done}/${total}`);
  };

  stop(): void {
    this.#bar.stop();
  }

  #begin(): void {
    if (!this.trains) this.#bar.restart(); // the time of the SVD is not that of steps
    this.trains = true;
  }
}

/** Where what was trained lies. Before the first step is finished the run folder has nothing. */
function tellTrained({ step, adapter }: TrainResult<Trained>, run: string): void {
  if (step === 0) return;
  console.log(adapter instanceof Adapter ? `adapter ${run}/adapter${pasted(adapter)}` : `model ${run}/model`);
}

/** Below the folder, the string that stands for it, where somebody might paste that. */
function pasted(adapter: Adapter): string {
  const text = String(adapter);
  return text.length <= MOST_PASTED ? `\n        ${text}` : "";
}

/** A run that is resumed goes on by its own. */
async function methodOf(method: Method, { resume }: TrainingFlags): Promise<Method> {
  return resume === undefined ? method : (await readRunInfo(resume)).method;
}

/** Of a new run: file, then flags. Of a resumed one: its own, but for what may change and what belongs to the machine. */
async function trainConfig(
  flags: Record<string, unknown>,
  method: Method,
  { config: file, resume, run }: TrainingFlags,
): Promise<TrainConfig> {
  if (resume === undefined) {
    checkUsed(method, flags);
    const written = file === undefined ? {} : await readConfigFile(file);
    const unused = unusedBy(method, Object.keys(written));
    if (unused.length > 0) throw new TinyLoraError("ERR_CONFIG", `${file}: ${noEffect(unused, method)}`);
    const config = resolveConfig({ ...environmentOptions(), ...written, ...flags }, file ?? "flags");
    checkMethod(method, config);
    return config;
  }
  const fixed = [
    ...Object.keys(flags).filter((key) => !RESUMABLE.includes(key)),
    ...(file === undefined ? [] : ["config"]),
    ...(run === undefined ? [] : ["folder"]),
  ];
  if (fixed.length > 0) {
    throw new TinyLoraError(
      "ERR_USAGE",
      `--resume: the run has its own ${fixed.join(", ")}; only ${RESUMABLE.join(", ")} can be given`,
    );
  }
  const info = await readRunInfo(resume);
  checkUsed(info.method, flags);
  checkOwnRewards(resume, info, undefined);
  const config = resolveConfig({ ...info.config, ...flags }, resume);
  await checkStepsMade(resume, config);
  return config;
}

function defaultRun(config: TrainConfig): string {
  const name = config.data.replace(/^.*[\\/]/, "").replace(/\.\w+$/, "");
  return `runs/${name}-${new Date().toISOString().slice(0, 19).replaceAll(/[-:]/g, "").replace("T", "-")}`;
}

function stepLine({ step, steps, metrics, measured }: StepReport): string {
  const shown = [
    ["loss", metrics.reward === undefined ? metrics.loss : undefined],
    ["reward", metrics.reward],
    ["accuracy", metrics.accuracy],
    ["length", metrics["completions/mean_length"]],
    ["grad", metrics.grad_norm],
    ["dlogp", metrics["sampling/max_abs_dlogp"]],
    ["held-out", metrics["eval/lenient"]],
    ["s", measured.step_time],
  ] as const;
  const parts = shown.flatMap(([name, value]) => (value === undefined ? [] : [`${name} ${round(value)}`]));
  return `step ${String(step).padStart(String(steps).length)}/${steps}  ${parts.join("  ")}`;
}

function round(value: number | null): string {
  return value === null ? "-" : String(Number(value.toPrecision(3)));
}
