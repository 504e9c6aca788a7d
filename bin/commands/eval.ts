import type { Command } from "commander";
import { evaluate, loadDataset, writeFileAtomic } from "../../lib/index.js";
import { parseCount, parseCounts, parseTemperature } from "../arguments.js";
import { ADAPTER_FLAG, ADAPTER_HELP, ENGINE_KEYS, loadAdapter, withEngine } from "../engine.js";
import { interruptible } from "../exit.js";
import { addFields, resolvedFields } from "../flags.js";
import { table } from "../io.js";
import { Progress } from "../progress.js";

const EXAMPLES = `
Examples:
  $ tinylora-native eval --data gsm8k --limit 200                       the base model, greedily
  $ tinylora-native eval --data gsm8k --adapter runs/gsm8k --json
  $ tinylora-native eval --data svamp --samples 8 --k 1,4,8 --temperature 0.8`;

const PROMPT_KEYS = ["data", "prompt_style", "shots", "system", "suffix"];
const SAMPLING_KEYS = ["max_completion_length", "top_p", "top_k", "min_p", "stop", "seed"];

interface Options {
  adapter?: string;
  split: "train" | "test";
  limit?: number;
  samples: number;
  temperature?: number;
  k: number[];
  output?: string;
  json?: true;
}

export function evalCommand(program: Command): void {
  const command = program
    .command("eval")
    .description("accuracy on a data set, with or without an adapter")
    .option(ADAPTER_FLAG, ADAPTER_HELP)
    .option("--split <train|test>", "part of the data set", "test")
    .option("--limit <n>", "only the first n problems", parseCount)
    .option("--samples <n>", "completions a problem", parseCount, 1)
    .option(
      "--temperature <number>",
      "0 is greedy; 0 for one sample and 1 for several when not given",
      parseTemperature,
    )
    .option("--k <a,b,...>", "report pass@k for these k", parseCounts, [])
    .option("--output <file>", "write every completion to this JSONL file")
    .option("--json", "print the result as JSON")
    .addHelpText("after", EXAMPLES);
  addFields(command, [...ENGINE_KEYS, ...PROMPT_KEYS, ...SAMPLING_KEYS]);
  command.action((options: Options) => run(command, options));
}

async function run(command: Command, options: Options): Promise<void> {
  const config = resolvedFields(command);
  const adapter = await loadAdapter(options.adapter);
  const temperature = options.temperature ?? (options.samples === 1 ? 0 : 1);
  const dataset = await loadDataset(config.data);
  const examples = dataset[options.split].slice(0, options.limit);
  const progress = new Progress("evaluating", " completions");
  const result = await interruptible((signal) =>
    withEngine(config, adapter, signal, (engine) =>
      evaluate(engine, examples, {
        ...config,
        temperature,
        slot: options.adapter === undefined ? -1 : 0,
        samples: options.samples,
        k: options.k,
        signal,
        onProgress: progress.update,
      }).finally(() => progress.stop()),
    ),
  );
  const { completions, ...summary } = result;
  if (options.output)
    await writeFileAtomic(options.output, completions.map((one) => `${JSON.stringify(one)}\n`).join(""));
  if (options.json) {
    console.log(
      JSON.stringify(
        { data: config.data, split: options.split, adapter: options.adapter ?? null, ...summary },
        null,
        2,
      ),
    );
    return;
  }
  const percent = (share: number) => `${(100 * share).toFixed(2)} %`;
  const rows = [
    ["problems x samples", `${summary.problems} x ${summary.samples}`],
    ["strict", percent(summary.strict)],
    ["lenient", `${percent(summary.lenient)} +- ${percent(summary.standardError)}`],
    ["format", percent(summary.format)],
    ...summary.passAtK.map(({ k, strict, lenient }) => [
      `pass@${k}`,
      `${percent(strict)} strict, ${percent(lenient)} lenient`,
    ]),
    ["mean length", `${summary.meanLength.toFixed(1)} tokens, ${percent(summary.truncated)} cut`],
    ["time", `${summary.seconds.toFixed(1)} s, ${(summary.tokens / summary.seconds).toFixed(0)} tokens/s`],
  ];
  process.stdout.write(table([config.data, options.split], rows));
}
