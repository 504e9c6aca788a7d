// `npm run gpu` as far as it goes without a GPU: what it says there, its report, and the timing of products by events.
import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { type PeerTime, report } from "../../benchmarks/cuda/gpu-report.js";
import { loadAddon } from "../../lib/native/load.js";
import { cudasimLibrary, cudasimTitle, hasCudasim } from "../cudasim/build.js";

function gpu(args: string[], env: NodeJS.ProcessEnv) {
  const root = join(import.meta.dirname, "../..");
  const script = ["--import", "tsx", "benchmarks/cuda/gpu.ts", ...args];
  return spawnSync(process.execPath, script, { cwd: root, encoding: "utf8", env: { ...process.env, ...env } });
}

it("says in one sentence that there is no GPU", () => {
  const { status, stdout, stderr } = gpu([], { TINYLORA_CUDA_DRIVER: "/nowhere/libcuda.so.1" });
  expect(stderr).toMatch(/^gpu: no GPU that can be used: .*\/nowhere\/libcuda\.so\.1.*\n$/);
  expect(stdout).toBe("");
  expect(status).toBe(1);
});

it.each([
  [["--shapes", "gpt-5"], /^gpu: --shapes: expected one of smollm2-135m, .*, found gpt-5\n$/],
  [["--rows", "1,x"], /^gpu: --rows: Expected a whole number from 1\.\n$/],
  [["--seconds", "long"], /^gpu: --seconds: Expected a number\.\n$/],
  [["--fast"], /^gpu: Unknown option '--fast'.*\n$/],
])("refuses %j before anything runs", (args, message) => {
  const { status, stderr } = gpu(args, {});
  expect(stderr).toMatch(message);
  expect(status).toBe(1);
});

it.skipIf(!hasCudasim)(cudasimTitle("refuses a folder of results that cannot be"), () => {
  const { status, stderr } = gpu(["--results", "package.json/x"], { TINYLORA_CUDA_DRIVER: cudasimLibrary });
  expect(stderr).toMatch(/^gpu: --results: .*package\.json.*\n$/);
  expect(status).toBe(1);
});

it("reports ours beside cuBLAS and PEFT", () => {
  const row = { module: "q, o", direction: "forward", out: 64, in: 32, rows: 8 };
  const measured = { gflops: 2000, gbytes: 500, overhead: 0.015, share: 0.5, seconds: { plain: 2e-6, fused: 2.03e-6 } };
  const ours = { limits: { gflops: { bf16: 4000 }, gbytes: 1000 }, results: [{ ...row, ...measured }] };
  const step = { what: "decode step", rows: 16, seconds: 2e-3, gflops: 5000, gbytes: 900, share: 0.25 } as const;
  const tests = { passed: 3, failed: 0 };
  const found = { gpu: "GPU", driver: "libcuda.so.1", tests, shapes: "qwen2.5-1.5b", ours, whole: [step] };
  const line = "| q, o | forward | 64 x 32 | 8 | 2.0 | 2.0 | 500 | 50 % | +1.5 % |";
  const [cublas, peft] = [
    { ...row, peer: "cublas", seconds: 1.5e-6 },
    { ...row, peer: "peft", seconds: 20.3e-6 },
  ] as const;
  expect(report({ ...found, peers: { times: [cublas, peft] } })).toContain(`${line} 75 % | 10.0 x |`);
  const elsewhere = { times: [{ ...cublas, rows: 9 }, peft], missing: "peft: no module" };
  expect(report({ ...found, peers: elsewhere })).toContain(`${line} - | 10.0 x |`);
  expect(report({ ...found, peers: elsewhere })).toContain("Peers left out: peft: no module.");
  expect(report({ ...found, peers: { times: [] }, tests: null })).toContain("Suite: not run");
  expect(report({ ...found, peers: { times: [] } })).toMatch(
    /\| qwen2\.5-1\.5b, whole \|.*\n.*\n\| decode step \| 16 \| 2\.00 \| 8000 \| 5\.0 \| 900 \| 25 % \|\n$/,
  );
});

const python = process.env.TINYLORA_PYTHON ?? "python3";
const hasPeers = spawnSync(python, ["-c", "import torch, peft"]).status === 0;
const name = "times torch and PEFT, here on the CPU";

it.skipIf(!hasPeers)(hasPeers ? name : `${name} (left out: ${python} has no torch and PEFT)`, () => {
  const script = join(import.meta.dirname, "../../benchmarks/cuda/peers.py");
  const env = { ...process.env, OMP_NUM_THREADS: "1" };
  const { status, stdout, stderr } = spawnSync(python, [script, "64x32", "2", "cpu"], { encoding: "utf8", env });
  expect(status, stderr).toBe(0);
  const lines = stdout
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line) as PeerTime);
  expect(lines.map(({ peer, direction }) => `${peer} ${direction}`)).toEqual(
    ["cublas", "peft"].flatMap((peer) => [`${peer} forward`, `${peer} backward`]),
  );
  for (const line of lines) {
    expect(line).toMatchObject({ out: 64, in: 32, rows: 2 });
    expect(line.seconds).toBeGreaterThan(0);
  }
});

describe.skipIf(!hasCudasim)(cudasimTitle("timing on cudasim"), () => {
  const on = { device: "cudasim", driver: cudasimLibrary };

  it("times products by events", async () => {
    const shape = { ...on, out: 64, in: 64, rows: 4, dtype: "bf16", rank: 2, seconds: 0, footprint: 0 } as const;
    for (const direction of ["forward", "backward"] as const) {
      const { plain, fused, calls } = await loadAddon().benchProduct({ ...shape, direction }, () => {});
      expect(calls).toBe(16);
      expect(plain.least).toBeGreaterThan(0);
      expect(fused.median).toBeGreaterThanOrEqual(fused.least);
    }
  });

  it("measures limits", async () => {
    const { gflops, gbytes } = await loadAddon().benchLimits({ ...on, seconds: 0 }, () => {});
    for (const limit of [gflops.bf16, gflops.fp32, gbytes]) expect(limit).toBeGreaterThan(0);
  });
});
