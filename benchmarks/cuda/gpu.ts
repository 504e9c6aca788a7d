/**
 * Everything for a machine with a GPU, in one command: builds, runs the whole suite on the device, then times our products
 * (events) beside cuBLAS's and PEFT's TinyLoRA layer, through torch, where the python of TINYLORA_PYTHON (python3) has them,
 * and decode steps and training passes of the whole model.
 *
 *   npm run gpu
 *   npm run gpu -- --shapes qwen2.5-7b --rows 1,512,4096 --skip-tests
 *
 *   --shapes MODEL     whose layers (qwen2.5-1.5b)
 *   --rows N,N,...     rows multiplied at a time (1,64,512,4096)
 *   --device NAME      cuda (the first usable GPU) or cuda:N (cuda)
 *   --seconds S        least time spent on each of our products (0.2)
 *   --results DIR      where DATE.json and DATE.md go (benchmarks/cuda/results)
 *   --skip-tests       only the times
 */
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { availableParallelism } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { parseCounts, parseNumber } from "../../bin/arguments.js";
import { linearShapes, MODELS } from "../../bin/shapes.js";
import { machine } from "../../lib/index.js";
import { answerHelp } from "../flags.js";
import { type Ours, type Peers, type PeerTime, report, type Whole } from "./gpu-report.js";

const root = join(import.meta.dirname, "../..");
const driver = process.env.TINYLORA_CUDA_DRIVER ?? "libcuda.so.1";

answerHelp();
// All that can be wrong with the options is told before the suite, which takes long.
const options = given();
const model = MODELS[options.shapes];
if (!model) fail(`--shapes: expected one of ${Object.keys(MODELS).join(", ")}, found ${options.shapes}`);
const gpus = machine().devices.filter(({ name }) => name.startsWith("cuda"));
const gpu = gpus.find(({ name, usable }) => usable && (options.device === "cuda" || options.device === name));
if (!gpu) fail(`no GPU that can be used: ${gpus[0]?.reason ?? `${options.device} is not there`}`);

const folder = options.results;
check("results", () => mkdirSync(folder, { recursive: true }));
const tests = options["skip-tests"] ? null : suite();
const ours = bench<Ours>();
const { whole } = bench<{ whole: Whole }>("--whole");
const peers = measurePeers();
const text = report({ gpu: gpu.gpu!.name, driver, tests, shapes: options.shapes, ours, whole, peers });
const name = new Date().toISOString().slice(0, 16).replaceAll(/[-:]/g, "").replace("T", "-");
writeFileSync(join(folder, `${name}.json`), `${JSON.stringify({ gpu, tests, ours, whole, peers }, null, 1)}\n`);
writeFileSync(join(folder, `${name}.md`), text);
console.log(text);
process.exitCode = tests && tests.failed > 0 ? 1 : 0;

function given() {
  try {
    const { values } = parseArgs({
      options: {
        shapes: { type: "string", default: "qwen2.5-1.5b" },
        rows: { type: "string", default: "1,64,512,4096" },
        device: { type: "string", default: "cuda" },
        seconds: { type: "string", default: "0.2" },
        results: { type: "string", default: join(import.meta.dirname, "results") },
        "skip-tests": { type: "boolean", default: false },
      },
    });
    check("rows", () => parseCounts(values.rows));
    check("seconds", () => parseNumber(values.seconds));
    return values;
  } catch (error) {
    return fail((error as Error).message);
  }
}

function check(option: string, run: () => unknown): void {
  try {
    run();
  } catch (error) {
    fail(`--${option}: ${(error as Error).message}`);
  }
}

/** The suite with the device's own driver in place of the stand-in, in more files at once where there are cores for it. */
function suite(): { passed: number; failed: number } {
  const file = join(root, ".cache", "gpu-report.json");
  rmSync(file, { force: true });
  const vitest = join(root, "node_modules", "vitest", "vitest.mjs");
  const reporters = ["--reporter=default", "--reporter=json", `--outputFile.json=${file}`];
  const workers = `--maxWorkers=${Math.max(2, Math.floor(availableParallelism() / 4))}`;
  spawnSync(process.execPath, [vitest, "run", ...reporters, workers], {
    cwd: root,
    stdio: ["ignore", "inherit", "inherit"],
    env: { ...process.env, TINYLORA_CUDA_DRIVER: driver },
  });
  if (!existsSync(file)) fail("the suite ended without a report: its message is above");
  const found = JSON.parse(readFileSync(file, "utf8")) as {
    numPassedTests: number;
    numFailedTests: number;
    success: boolean;
  };
  // A file that does not load has no tests that fail.
  return { passed: found.numPassedTests, failed: found.success ? 0 : Math.max(1, found.numFailedTests) };
}

function bench<Result>(...more: string[]): Result {
  const program = join(root, "dist", "bin", "tinylora-native.js");
  const on = ["--device", options.device, "--shapes", options.shapes, "--rows", options.rows];
  const flags = [...on, ...more, "--seconds", options.seconds, "--json"];
  const { status, signal, stdout, stderr } = spawnSync(process.execPath, [program, "bench", ...flags], {
    encoding: "utf8",
  });
  if (status !== 0) fail(`bench: ${stderr.trim() || `ended by ${signal}`}`);
  return JSON.parse(stdout) as Result;
}

function measurePeers(): Peers {
  const python = process.env.TINYLORA_PYTHON ?? "python3";
  const shapes = linearShapes(model!).map(({ out, in: inputs }) => `${out}x${inputs}`);
  const script = join(import.meta.dirname, "peers.py");
  const { status, stdout, stderr, error } = spawnSync(python, [script, [...new Set(shapes)].join(","), options.rows], {
    encoding: "utf8",
  });
  const lines = (stdout ?? "").split("\n").filter((line) => line.endsWith("}")); // the last may be cut off
  const found = lines.map((line) => JSON.parse(line) as PeerTime | { missing: string });
  const ended = status === 0 ? undefined : `${python}: ${error?.message ?? stderr.trim().split("\n").at(-1)}`;
  const missing = ended ?? found.find((line) => "missing" in line)?.missing;
  return { times: found.filter((line) => "peer" in line), ...(missing ? { missing } : {}) };
}

function fail(message: string): never {
  console.error(`gpu: ${message}`);
  process.exit(1);
}
