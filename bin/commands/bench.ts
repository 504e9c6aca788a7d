import { type Command, InvalidArgumentError, Option } from "commander";
import { LARGEST_RANK } from "../../lib/adapter/spec.js";
import {
  type BenchDevice,
  type BenchProductSpec,
  benchLimits,
  benchProduct,
  type CpuPath,
  type Dtype,
  type MachineLimits,
  machine,
  nativeDevice,
  TinyLoraError,
} from "../../lib/index.js";
import { countTo, parseNumber } from "../arguments.js";
import { printCounters } from "../counters.js";
import { interruptible } from "../exit.js";
import { counted, table } from "../io.js";
import { Progress } from "../progress.js";
import { linearShapes, MODELS } from "../shapes.js";
import { limitsLine, printWhole, type TimedOn } from "../whole-model.js";

const EXAMPLES = `
Peaks are measured in the same run: products by a loop that touches only registers, memory by one that reads far more
than the caches hold. "of peak" is the larger of the two shares. Every row is timed with and without the fused update.

On a GPU (--device cuda, cuda:N) times are those of events of its stream. --device cudasim has no times: it prints what the
kernels do, counted by the stand-in for the CUDA driver on the layers of --shapes.

--whole times what a run does with the model in place of its products, on weights of zeros, so that no model is needed: a
decode step of as many sequences as --rows says, up to 512, and training passes of 512 rows and more.

Examples:
  $ npx tinylora-native bench
  $ npx tinylora-native bench --whole --shapes qwen2.5-0.5b
  $ npx tinylora-native bench --device cuda --shapes qwen2.5-1.5b
  $ npx tinylora-native bench --device cudasim --shapes qwen2.5-0.5b --rows 1,512
  $ npx tinylora-native bench --shapes qwen2.5-7b --rows 1,512 --dtype bf16 --json`;

const MOST_ROWS = 2 ** 24;

interface Options {
  shapes: string;
  rows: number[];
  dtype: Dtype;
  device: string;
  path?: CpuPath;
  threads?: number;
  r: number;
  seconds: number;
  whole?: true;
  json?: true;
}

interface Row {
  module: string;
  direction: "forward" | "backward";
  out: number;
  in: number;
  rows: number;
  gflops: number;
  gbytes: number;
  /** Time of the fused product over the plain one, less 1. */
  overhead: number;
  share: number;
  seconds: { plain: number; fused: number };
}

export function benchCommand(program: Command): void {
  program
    .command("bench")
    .description(
      "time the products of a model's layers, plain and with the fused update, beside the limits of this machine",
    )
    .addOption(
      new Option("--shapes <model>", "whose layers: the shapes of this model's weights")
        .choices(Object.keys(MODELS))
        .default("smollm2-135m"),
    )
    .option(
      "--rows <a,b,...>",
      "how many rows are multiplied at a time",
      (text) => text.split(",").map(countTo(MOST_ROWS)),
      [1, 8, 64, 512, 4096],
    )
    .addOption(new Option("--dtype <dtype>", "type of the weights").choices(["bf16", "fp16", "fp32"]).default("bf16"))
    .option("--device <device>", "cpu, cuda (the first usable GPU), cuda:N, or cudasim for counters", "cpu")
    .addOption(
      new Option("--path <path>", "instruction set; when not given the best one").choices([
        "amx",
        "avx512-bf16",
        "avx512",
        "avx2",
        "neon-bf16",
        "neon",
      ]),
    )
    .option("--threads <n>", "compute threads; when not given all cores", countTo(1024))
    .option("--r <n>", "rank of the fused update", countTo(LARGEST_RANK), 2)
    .option("--whole", "time decode steps and training passes of the whole model, its weights zeros")
    .option("--seconds <number>", "least time spent on measuring each number", parseSeconds, 0.2)
    .option("--json", "print the result as JSON")
    .addHelpText("after", EXAMPLES)
    .action(run);
}

function parseSeconds(text: string): number {
  const value = parseNumber(text);
  if (value < 0 || value > 3600) throw new InvalidArgumentError("Expected a number from 0 to 3600.");
  return value;
}

async function run(options: Options): Promise<void> {
  const idle = (["path", "threads"] as const).find((key) => options[key] !== undefined);
  if (idle && options.device !== "cpu") {
    throw new TinyLoraError("ERR_USAGE", `--${idle}: expected nothing, since device is ${options.device}`);
  }
  if (options.device === "cudasim") {
    if (options.whole) throw new TinyLoraError("ERR_USAGE", "--whole: expected another device, cudasim has no times");
    return printCounters(options);
  }
  const on = benchDevice(options);
  if (options.whole) return printWhole(options, on);
  const shapes = linearShapes(MODELS[options.shapes]!);
  const cases = shapes.flatMap((shape) =>
    options.rows.flatMap((rows) =>
      (["forward", "backward"] as const).map((direction) => ({ ...shape, rows, direction })),
    ),
  );
  await interruptible(async (signal) => {
    const progress = new Progress("bench", " cases");
    const results: Row[] = [];
    let limits: MachineLimits;
    try {
      limits = await benchLimits({ ...on.spec, seconds: Math.max(0.5, options.seconds) }, { signal });
      for (const one of cases) {
        results.push(await measure(one, options, on.spec, limits, signal));
        progress.update(results.length, cases.length);
      }
    } finally {
      progress.stop();
    }
    if (options.json) {
      console.log(
        JSON.stringify(
          { ...on.description, dtype: options.dtype, shapes: options.shapes, r: options.r, limits, results },
          null,
          2,
        ),
      );
      return;
    }
    console.log(`${on.name}, ${options.dtype}, r ${options.r}\n${limitsLine(limits)}\n`);
    process.stdout.write(
      table(
        ["module", "direction", "out x in", "rows", "GFLOP/s", "GB/s", "of peak", "fusion"],
        results.map((row) => [
          row.module,
          row.direction,
          `${row.out} x ${row.in}`,
          row.rows,
          row.gflops.toFixed(1),
          row.gbytes.toFixed(1),
          `${(100 * row.share).toFixed(0)} %`,
          `${row.overhead >= 0 ? "+" : ""}${(100 * row.overhead).toFixed(1)} %`,
        ]),
      ),
    );
  });
}

/** Where products are timed, as native code takes it, as JSON and as a line. */
function benchDevice(options: Options): TimedOn {
  if (options.device !== "cpu") {
    if (options.device === "reference") throw new TinyLoraError("ERR_DEVICE", "--device: the reference is not timed");
    const spec = nativeDevice(options.device);
    const { devices } = machine();
    const chosen = options.device === "cuda" ? devices.find(({ gpu, usable }) => gpu && usable) : undefined;
    const gpu = (chosen ?? devices.find(({ name }) => name === options.device))?.gpu?.name;
    return { spec, description: { device: options.device, gpu }, name: gpu ?? options.device };
  }
  const { cpu, cores, paths } = machine();
  const path = options.path ?? paths[0];
  if (path === undefined || !paths.includes(path)) {
    throw new TinyLoraError("ERR_USAGE", `--path: this machine has ${paths.join(", ") || "none"}, found ${path}`);
  }
  const threads = options.threads ?? cores;
  const spec = { device: "cpu", path, threads };
  return {
    spec,
    description: { cpu, ...spec },
    name: `${cpu}, ${counted(threads, "thread")}, ${path}`,
  };
}

type Case = { module: string; out: number; in: number; rows: number; direction: "forward" | "backward" };

/** Weights come from memory, as in a model whose layers follow one another, not from a warm cache. */
async function measure(
  { module, out, in: inputs, rows, direction }: Case,
  { dtype, r, seconds }: Options,
  on: BenchDevice,
  limits: MachineLimits,
  signal: AbortSignal,
): Promise<Row> {
  const spec: BenchProductSpec = {
    out,
    in: inputs,
    rows,
    dtype,
    ...on,
    direction,
    rank: r,
    seconds,
    footprint: 256 * 2 ** 20,
  };
  const { plain, fused } = await benchProduct(spec, { signal });
  const flops = 2 * rows * out * inputs;
  const bytes = out * inputs * (dtype === "fp32" ? 4 : 2) + 4 * rows * (out + inputs);
  const gflops = flops / plain.median / 1e9;
  const gbytes = bytes / plain.median / 1e9;
  return {
    module,
    direction,
    out,
    in: inputs,
    rows,
    gflops,
    gbytes,
    overhead: fused.median / plain.median - 1,
    share: Math.max(gflops / limits.gflops[dtype === "fp32" ? "fp32" : "bf16"], gbytes / limits.gbytes),
    seconds: { plain: plain.median, fused: fused.median },
  };
}
