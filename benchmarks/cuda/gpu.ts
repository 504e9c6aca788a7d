/**
 * Everything for a machine with a GPU, in one command: npm run gpu [-- --shapes MODEL --rows 1,512,4096 --skip-tests]
 * Builds, runs the whole suite on the device, then times our products (events) beside cuBLAS through torch, where the
 * python of TINYLORA_PYTHON (python3) has torch. Writes benchmarks/cuda/results/DATE.json and .md.
 */
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { linearShapes, MODELS } from "../../bin/shapes.js";
import { machine } from "../../lib/index.js";
import { type Ours, type Peer, report } from "./gpu-report.js";

const root = join(import.meta.dirname, "../..");
const driver = process.env.TINYLORA_CUDA_DRIVER ?? "libcuda.so.1";

const { values: options } = parseArgs({
  options: {
    shapes: { type: "string", default: "qwen2.5-1.5b" },
    rows: { type: "string", default: "1,64,512,4096" },
    device: { type: "string", default: "cuda" },
    "skip-tests": { type: "boolean", default: false },
  },
});

const model = MODELS[options.shapes];
if (!model) fail(`--shapes: expected one of ${Object.keys(MODELS).join(", ")}, found ${options.shapes}`);
const gpus = machine().devices.filter(({ name }) => name.startsWith("cuda"));
const gpu = gpus.find(({ name, usable }) => usable && (options.device === "cuda" || options.device === name));
if (!gpu) fail(`no GPU that can be used: ${gpus[0]?.reason ?? `${options.device} is not there`}`);

const tests = options["skip-tests"] ? null : suite();
const ours = products();
const cublas = peer();
const text = report({ gpu: gpu.gpu!.name, driver, tests, ours, cublas });
const folder = join(import.meta.dirname, "results");
const name = new Date().toISOString().slice(0, 16).replaceAll(/[-:]/g, "").replace("T", "-");
mkdirSync(folder, { recursive: true });
writeFileSync(join(folder, `${name}.json`), `${JSON.stringify({ gpu, tests, ours, cublas }, null, 1)}\n`);
writeFileSync(join(folder, `${name}.md`), text);
console.log(text);
process.exitCode = tests && tests.failed > 0 ? 1 : 0;

/** The suite with the device's own driver in place of the stand-in. */
function suite(): { passed: number; failed: number } {
  const file = join(root, ".cache", "gpu-report.json");
  rmSync(file, { force: true });
  const vitest = join(root, "node_modules", "vitest", "vitest.mjs");
  spawnSync(process.execPath, [vitest, "run", "--reporter=default", "--reporter=json", `--outputFile.json=${file}`], {
    cwd: root,
    stdio: ["ignore", "inherit", "inherit"],
    env: { ...process.env, TINYLORA_CUDA_DRIVER: driver },
  });
  if (!existsSync(file)) fail("the suite ended without a report: its message is above");
  const { numPassedTests, numFailedTests } = JSON.parse(readFileSync(file, "utf8")) as Record<string, number>;
  return { passed: numPassedTests ?? 0, failed: numFailedTests ?? 0 };
}

function products(): Ours {
  const bench = join(root, "dist", "bin", "tinylora-native.js");
  const flags = ["--device", options.device, "--shapes", options.shapes, "--rows", options.rows, "--json"];
  const { status, stdout, stderr } = spawnSync(process.execPath, [bench, "bench", ...flags], { encoding: "utf8" });
  if (status !== 0) fail(stderr.trim());
  return JSON.parse(stdout) as Ours;
}

/** null where there is no torch with a GPU. */
function peer(): Peer[] | null {
  const python = process.env.TINYLORA_PYTHON ?? "python3";
  const shapes = linearShapes(model!).map(({ out, in: inputs }) => `${out}x${inputs}`);
  const script = join(import.meta.dirname, "cublas.py");
  const { status, stdout } = spawnSync(python, [script, [...new Set(shapes)].join(","), options.rows], {
    encoding: "utf8",
  });
  if (status !== 0) return null;
  return stdout
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line) as Peer);
}

function fail(message: string): never {
  console.error(`gpu: ${message}`);
  process.exit(1);
}
