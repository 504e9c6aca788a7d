import type { Command } from "commander";
import { environment } from "../../lib/config/env.js";
import { flagOf } from "../../lib/config/fields.js";
import { checkFolder } from "../../lib/files.js";
import {
  Adapter,
  adapterOptions,
  askedAs,
  EMBEDDED,
  type Engine,
  type Evaluation,
  evaluate,
  findModel,
  GrpoTrainer,
  loadDataset,
  resolveConfig,
  type StepReport,
  TinyLoraError,
  type TrainConfig,
  type TrainOptions,
} from "../../lib/index.js";
import { checkNoRun } from "../../lib/run/folder.js";
import { attachAdapter, loadEngine } from "../engine.js";
import { interruptible } from "../exit.js";
import { givenFields } from "../flags.js";
import { counted, quoted } from "../io.js";
import { Progress } from "../progress.js";
import { addTrainingFlags, runTraining, type TrainingFlags } from "./train.js";

const EXAMPLES = `
The defaults above are those of \`train\`. The demonstration has its own, and keeps a run only where --run is given.

Examples:
  $ npx tinylora-native start                                   the embedded model, in less than a minute
  $ npx tinylora-native start --seed 1 --u 1                    the same with one number and another order
  $ npx tinylora-native start --model path/to/model             with a model of one's own this is \`train\``;

/**
 * Of the demonstration; flags come over it. Of 13 projection seeds this one had the direction, measured on training
 * problems, along which care grows and sums stay right.
 */
const DEMONSTRATION: TrainOptions = {
  model: EMBEDDED,
  r: 16,
  u: 13,
  target_modules: ["down_proj"],
  projection_seed: 6,
  v_dtype: "bf16",
  num_prompts: 32,
  num_generations: 8,
  max_steps: 30,
  learning_rate: 0.007,
  eval_steps: 0,
};
const HELD_OUT = 200;

/** Options of what the demonstration shows and cannot show with others: v, from zero, on problems that it brings along. */
const FIXED = [
  ...["adapter", "start_from", "init", "eval_data", "question_column", "answer_column"],
  ...["eval_question_column", "eval_answer_column"],
];

export function startCommand(program: Command): void {
  const command = program
    .command("start")
    .description(
      "a demonstration: teach the small embedded model by changing 13 numbers; with --model, TINYLORA_MODEL, --data, --config or --resume it is train",
    )
    .addHelpText("after", EXAMPLES);
  addTrainingFlags(command, "grpo");
  command.action((flags: TrainingFlags) => {
    const given = givenFields(command);
    const own = [given.model, given.data, flags.config, flags.resume, environment().model];
    return own.some((value) => value !== undefined)
      ? runTraining(command, "grpo", flags)
      : demonstrate(given, flags.run);
  });
}

async function demonstrate(given: Record<string, unknown>, run: string | undefined): Promise<void> {
  const fixed = FIXED.filter((key) => key in given).map(flagOf);
  if (fixed.length > 0) {
    throw new TinyLoraError(
      "ERR_USAGE",
      `${fixed.join(", ")}: not for the demonstration; with --model (${EMBEDDED} too) \`start\` is \`train\`, which takes all options`,
    );
  }
  const config = resolveConfig({ ...DEMONSTRATION, ...given }, "flags");
  config.model = findModel(config.model);
  await interruptible(async (signal) => {
    if (run !== undefined) {
      await checkFolder(run);
      await checkNoRun(run);
    }
    const started = performance.now();
    const engine = await loadEngine(config, signal);
    try {
      const adapter = Adapter.create(engine, adapterOptions(config)!);
      const numbers = counted(adapter.v.length, "number");
      await attachAdapter(engine, adapter, signal);
      const data = await loadDataset(config.data);
      console.log(
        `A model of ${weights(engine)} parameters that ships with this package: it knows how to do sums with care, and mostly does not.\n` +
          `GRPO changes ${numbers}; the reward says only whether an answer is right.\n`,
      );
      const before = await heldOut(engine, config, data.test, signal);
      console.log(`before  ${accuracy(before)} of ${before.problems} held-out problems right (greedy)\n`);

      const progress = new Progress("training", " steps");
      const trainer = new GrpoTrainer({ engine, adapter, data, config, run });
      const result = await trainer
        .train({ signal, onStep: (report) => show(report, progress) })
        .finally(() => progress.stop());
      if (result.stopped === "aborted") {
        const goOn = run === undefined ? "" : `: go on with \`npx tinylora-native train --resume ${quoted(run)}\``;
        console.error(`stopped after step ${result.step}${goOn}`);
        signal.throwIfAborted();
      }

      const after = await heldOut(engine, config, data.test, signal);
      console.log(`\nafter   ${accuracy(after)} (before ${accuracy(before)}), ${seconds(started)} in all\n`);
      console.log(example(before, after));
      console.log(`The ${numbers} as a string, for --adapter and Adapter.load:\n  ${result.adapter}\n`);
      console.log(next(String(result.adapter)));
    } finally {
      engine.dispose();
    }
  });
}

function heldOut(engine: Engine, config: TrainConfig, test: Parameters<typeof evaluate>[1], signal: AbortSignal) {
  const progress = new Progress("evaluating", " problems");
  const options = { ...askedAs(config), slot: 0, signal, onProgress: progress.update };
  return evaluate(engine, test.slice(0, HELD_OUT), options).finally(() => progress.stop());
}

/** A bar on a terminal, a line now and then elsewhere. */
function show({ step, steps, metrics }: StepReport, progress: Progress): void {
  const { reward } = metrics;
  if (reward === undefined) return; // an evaluation before the first step
  const heldOut = metrics["eval/lenient"];
  const evaluated = heldOut === undefined ? "" : `, held-out ${percent(heldOut)}`;
  if (!process.stderr.isTTY && (step % 5 === 0 || step === 1 || evaluated)) {
    progress.stop(); // it has been said
    console.log(`step ${String(step).padStart(3)}/${steps}  right while sampling ${percent(reward)}${evaluated}`);
  }
  progress.update(
    step,
    steps,
    `right while sampling ${percent(reward)} ${"#".repeat(Math.round(20 * reward)).padEnd(20, ".")}${evaluated}`,
  );
}

/** A problem that the training turned from wrong to right. */
function example(before: Evaluation, after: Evaluation): string {
  const place = after.completions.findIndex((one, i) => one.lenient && !before.completions[i]!.lenient);
  if (place < 0) return "No problem turned from wrong to right.\n";
  const [old, now] = [before.completions[place]!, after.completions[place]!];
  return `  ${old.question}\n  before: ${old.completion}\n  after:  ${now.completion}\n`;
}

function next(adapter: string): string {
  return `What to try next:
  npx tinylora-native generate --model ${EMBEDDED} --adapter ${adapter} "Mia has 57 apples and buys 38 more. How many apples does Mia have now?"
  npx tinylora-native start --u 1                              one number instead of 13
  npx tinylora-native start --seed 7 --learning-rate 0.004     another order of problems, smaller steps
  npx tinylora-native start --model path/to/SmolLM2-135M-Instruct --data gsm8k     a real model (docs: README.md)`;
}

function weights(engine: Engine): string {
  const count = engine.model.tensors.reduce(
    (sum, { shape }) => sum + shape.reduce((product, size) => product * size, 1),
    0,
  );
  return count.toLocaleString("en-US");
}

function accuracy({ lenient }: Evaluation): string {
  return percent(lenient);
}

function percent(share: number): string {
  return `${(100 * share).toFixed(1)} %`;
}

function seconds(started: number): string {
  return `${((performance.now() - started) / 1000).toFixed(0)} s`;
}
