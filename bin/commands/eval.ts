import { type Command, Option } from "commander";
import { leavingOut, passes } from "../../lib/data/broken.js";
import { checkAnswer } from "../../lib/data/columns.js";
import { prepareFile } from "../../lib/files.js";
import {
  type Adapter,
  askedAs,
  compare,
  type Dataset,
  datasets,
  type Engine,
  type Evaluation,
  type EvaluationRun,
  type Example,
  evaluate,
  evaluationReport,
  findModel,
  loadDataset,
  nearest,
  TinyLoraError,
  type TrainConfig,
  writeFileAtomic,
} from "../../lib/index.js";
import { writeLines } from "../../lib/run/lines.js";
import { evaluableProblems } from "../../lib/train/usable.js";
import { countTo, parseCount, parseCounts, parseName, parseNames, parseTemperature } from "../arguments.js";
import { ADAPTER_FLAG, ADAPTER_HELP, attachAdapter, loadAdapter, loadEngine, SAMPLER_KEYS } from "../engine.js";
import { printEvaluation } from "../evaluation-table.js";
import { interruptible } from "../exit.js";
import { addFields, checkSampled, givenFields, resolvedFields } from "../flags.js";
import { counted } from "../io.js";
import { Progress } from "../progress.js";
import { PROMPT_KEYS, warnOfOtherPrompts } from "../prompt-keys.js";

const EXAMPLES = `
Examples:
  $ npx tinylora-native eval --data gsm8k --limit 200                       the base model, greedily
  $ npx tinylora-native eval --data gsm8k --adapter runs/gsm8k --json
  $ npx tinylora-native eval --data svamp --samples 8 --k 1,4,8 --temperature 0.8
  $ npx tinylora-native eval --benchmark gsm8k,math500,amc23 --adapter runs/a --compare base --report report.md`;

const SAMPLING_KEYS = ["max_completion_length", "top_p", "top_k", "min_p", "stop", "seed"];
const DATA_KEYS = ["data", "question_column", "answer_column", "skip_bad"];

interface Options {
  adapter?: string;
  compare?: string;
  benchmark?: string[];
  split: "train" | "test" | "all";
  limit?: number;
  samples: number;
  temperature?: number;
  k: number[];
  output?: string;
  report?: string;
  json?: true;
}

export function evalCommand(program: Command): void {
  const command = program
    .command("eval")
    .description("measure accuracy on data sets: of the model, of an adapter, or of two side by side")
    .option(ADAPTER_FLAG, ADAPTER_HELP, parseName)
    .option(
      "--compare <adapter>",
      "evaluate this adapter too (base: the model without one), and the difference problem by problem",
      parseName,
    )
    .option(
      "--benchmark <a,b,...>",
      `data sets by name, in place of --data; any of ${Object.keys(datasets).join(", ")}`,
      parseNames,
    )
    .addOption(
      new Option(
        "--split <name>",
        "which part of the data set; of a file without parts, test is a fifth that is held out",
      )
        .choices(["train", "test", "all"])
        .default("test"),
    )
    .option("--limit <n>", "only the first n problems", parseCount)
    .option("--samples <n>", "completions of each problem", countTo(65536), 1)
    .option(
      "--temperature <number>",
      "temperature of sampling, 0 is greedy; when not given 0 for one sample and 1 for several",
      parseTemperature,
    )
    .addOption(
      new Option(
        "--k <a,b,...>",
        "report for these k how often one of k completions is right (pass@k), and the most frequent answer of k (maj@k)",
      )
        .argParser(parseCounts)
        .default([], "none"),
    )
    .option("--output <file>", "write every completion to this JSONL file", parseName)
    .option("--report <file>", "write a report to this Markdown file", parseName)
    .option("--json", "print the result as JSON")
    .addHelpText("after", EXAMPLES);
  addFields(command, [...SAMPLER_KEYS, ...DATA_KEYS, ...PROMPT_KEYS, ...SAMPLING_KEYS], {
    seed: "seed of sampling",
  });
  command.action((options: Options) => run(command, options));
}

async function run(command: Command, options: Options): Promise<void> {
  const config = resolvedFields(command);
  checkSampled(command, temperatureOf(options));
  checkNames(command, options, config);
  for (const file of [options.output, options.report]) if (file !== undefined) await prepareFile(file);
  const adapter = await loadAdapter(options.adapter);
  const compared = options.compare === "base" ? undefined : options.compare;
  const other = await loadAdapter(compared);
  const result = await interruptible(async (signal): Promise<EvaluationRun> => {
    const loaded = await loadParts(options, config, signal);
    for (const source of [options.adapter, compared]) if (source) await warnOfOtherPrompts(source, config);
    const engine = await loadEngine(config, signal);
    try {
      const parts = await evaluableParts(engine, loaded, config, signal);
      const first = await evaluateAll(engine, adapter, parts, config, options, signal);
      const second =
        options.compare === undefined ? null : await evaluateAll(engine, other, parts, config, options, signal);
      return {
        model: findModel(config.model),
        adapter: options.adapter ?? null,
        compare: options.compare ?? null,
        sampling: sampling(config, options),
        results: parts.map(({ data }, i) => {
          const evaluation = first[i]!;
          const compared = second && { evaluation: second[i]!, difference: compare(second[i]!, evaluation) };
          return { data, split: options.split, evaluation, compared: compared ?? undefined };
        }),
      };
    } finally {
      engine.dispose();
    }
  });
  if (options.output) await writeLines(options.output, completionLines(result));
  if (options.report) await writeFileAtomic(options.report, evaluationReport(result));
  if (options.json) console.log(JSON.stringify(options.benchmark ? jsonOf(result) : jsonOf(result)[0], null, 2));
  else printEvaluation(result);
}

/** What can be wrong before anything is loaded. */
function checkNames(command: Command, { adapter, compare, benchmark, k, samples }: Options, config: TrainConfig): void {
  if (compare === "base" && adapter === undefined) {
    throw new TinyLoraError("ERR_USAGE", "--compare: base is what is evaluated without --adapter; give that too");
  }
  const names = Object.keys(datasets);
  const unknown = benchmark?.find((name) => !names.includes(name));
  if (unknown !== undefined) {
    throw new TinyLoraError(
      "ERR_USAGE",
      `--benchmark: expected names of ${names.join(", ")} (nearest: ${nearest(unknown, names)}), found "${unknown}"`,
    );
  }
  if (benchmark && "data" in givenFields(command)) {
    throw new TinyLoraError("ERR_USAGE", "--benchmark: it names data sets in place of --data; give one of the two");
  }
  if (benchmark && (config.question_column !== null || config.answer_column !== null)) {
    throw new TinyLoraError(
      "ERR_USAGE",
      "--benchmark: its data sets have columns of their own; name a file with --data",
    );
  }
  const above = k.find((value) => value > samples);
  if (above !== undefined) {
    throw new TinyLoraError("ERR_USAGE", `--k: expected at most --samples (${samples}), found ${above}`);
  }
}

interface Part {
  readonly data: string;
  readonly examples: readonly Example[];
}

async function loadParts(
  { benchmark, split, limit }: Options,
  config: TrainConfig,
  signal: AbortSignal,
): Promise<Part[]> {
  const parts: Part[] = [];
  const { question_column, answer_column, skip_bad } = config;
  const progress = new Progress("fetching", "B");
  for (const data of benchmark ?? [config.data]) {
    const options = { question_column, answer_column, skip_bad, signal, onProgress: progress.update };
    const dataset = await loadDataset(data, options).finally(() => progress.stop());
    const skipped = [...(dataset.skipped ?? [])];
    const onBroken = leavingOut(skip_bad, skipped);
    const part = split === "all" ? [...dataset.train, ...dataset.test] : dataset[split];
    const examples = part.filter((one) => passes(onBroken, () => checkAnswer(one)));
    if (skipped.length > 0)
      console.error(`warning: ${data}: ${skipped.length} broken rows left out, the first: ${skipped[0]}`);
    if (examples.length === 0) throw noProblems(data, split, dataset);
    parts.push({ data, examples: examples.slice(0, limit) });
  }
  return parts;
}

/** A file of few problems may have none held out. */
function noProblems(data: string, split: Options["split"], { train, test }: Dataset): TinyLoraError {
  const all = train.length + test.length;
  const where = split === "all" ? "" : ` in its ${split} part`;
  const cure = split === "all" || all === 0 ? "" : `: --split all takes its ${counted(all, "problem")}`;
  return new TinyLoraError("ERR_DATA", `${data}: expected problems${where}, found none${cure}`);
}

async function evaluableParts(
  engine: Engine,
  parts: readonly Part[],
  config: TrainConfig,
  signal: AbortSignal,
): Promise<Part[]> {
  const evaluable: Part[] = [];
  for (const { data, examples } of parts) {
    const onWarning = (message: string) => console.error(`warning: ${data}: ${message}`);
    evaluable.push({ data, examples: await evaluableProblems(engine, examples, config, { signal, onWarning }) });
  }
  return evaluable;
}

async function evaluateAll(
  engine: Engine,
  adapter: Adapter | undefined,
  parts: readonly Part[],
  config: TrainConfig,
  options: Options,
  signal: AbortSignal,
): Promise<Evaluation[]> {
  if (adapter) await attachAdapter(engine, adapter, signal);
  const results: Evaluation[] = [];
  for (const { data, examples } of parts) {
    const progress = new Progress(`evaluating ${data}`, " completions");
    const { top_p, top_k, min_p, seed } = config;
    const settings = {
      ...askedAs(config),
      ...{ top_p, top_k, min_p, seed },
      temperature: temperatureOf(options),
      slot: adapter ? 0 : -1,
      samples: options.samples,
      k: options.k,
      signal,
      onProgress: progress.update,
    };
    results.push(await evaluate(engine, examples, settings).finally(() => progress.stop()));
  }
  return results;
}

function temperatureOf({ temperature, samples }: Options): number {
  return temperature ?? (samples === 1 ? 0 : 1);
}

/** All that completions depend on besides model, adapter and problems. */
function sampling(config: TrainConfig, options: Options): Record<string, unknown> {
  const keys = [...PROMPT_KEYS, ...SAMPLING_KEYS, "dtype", "device"] as (keyof TrainConfig)[];
  const chosen = { samples: options.samples, temperature: temperatureOf(options), limit: options.limit ?? null };
  return { ...chosen, ...Object.fromEntries(keys.map((key) => [key, config[key]])) };
}

/** Of each completion; of two adapters, the first one's come first. */
function* completionLines({ adapter, compare, results }: EvaluationRun): Generator<object> {
  for (const { evaluation } of results) for (const one of evaluation.completions) yield { adapter, ...one };
  for (const { compared } of results) {
    for (const one of compared?.evaluation.completions ?? []) yield { adapter: compare, ...one };
  }
}

function jsonOf({ model, adapter, compare, sampling, results }: EvaluationRun): object[] {
  return results.map(({ data, split, evaluation, compared }) => {
    const { completions: _, ...summary } = evaluation;
    const result = { data, split, model, adapter, sampling, ...summary };
    if (!compared) return result;
    const { completions: __, ...second } = compared.evaluation;
    return { ...result, compare: { adapter: compare, ...second, difference: compared.difference } };
  });
}
