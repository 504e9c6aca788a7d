/**
 * How fast the stand-in for the CUDA driver is on this machine: nanoseconds of CPU that one instruction of a warp takes
 * (benchmarks/cuda/cudasim.cpp, built here), and seconds of a GRPO step. Prints a table. Needs nvcc.
 *
 *   npx tsx benchmarks/cuda/stand-in.ts
 */
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { markdownTable } from "../../lib/markdown.js";
import { cudasimLibrary } from "../../lib/native/cudasim.js";
import { type Hooks, runTiny } from "../../test/trajectory/tiny-policy.js";
import { readFlags } from "../flags.js";

export interface StandInTimes {
  readonly instructions: readonly { readonly instruction: string; readonly nanoseconds: number }[];
  /** Of the machine, and of its cores together. */
  readonly step: { readonly seconds: number; readonly cpuSeconds: number };
}

export async function standInTimes(): Promise<StandInTimes> {
  return { instructions: instructionTimes(), step: await stepTime() };
}

export function standInTable({ instructions, step }: StandInTimes): string {
  return markdownTable(
    ["the stand-in itself", "time of CPU"],
    [
      ...instructions.map((one) => [`a warp's instruction: ${one.instruction}`, `${one.nanoseconds.toFixed(1)} ns`]),
      [
        "a GRPO step of a run in bf16, 2 layers, hidden size 64, 8 sequences of 64 tokens, with loading the kernels",
        `${step.cpuSeconds.toFixed(1)} s (${step.seconds.toFixed(1)} s by the clock)`,
      ],
    ],
  );
}

function instructionTimes(): StandInTimes["instructions"] {
  const folder = join(cudasimLibrary(), "..");
  run("cmake", ["--build", join(folder, "../.."), "--target", "cudasim_bench"]);
  const lines = run(join(folder, "cudasim_bench"), [join(folder, "bench", "cudasim.ptx")])
    .trim()
    .split("\n");
  return lines.map((line) => {
    const [, instruction, nanoseconds] = /^(\w+) +([\d.]+) ns$/.exec(line)!;
    return { instruction: instruction!, nanoseconds: Number(nanoseconds) };
  });
}

/** Of the model of test/trajectory; nothing stops a completion early. */
async function stepTime(): Promise<StandInTimes["step"]> {
  const folder = mkdtempSync(join(tmpdir(), "stand-in-"));
  const options = { dtype: "bf16", device: "cudasim", threads: 2, max_steps: 1, eval_steps: 0 } as const;
  const sequences = { num_prompts: 2, num_generations: 4, max_completion_length: 58 };
  try {
    const [start, before] = [performance.now(), process.cpuUsage()];
    const sampled: Hooks["sampled"] = (submit) => (request, onEvent) => {
      return submit({ ...request, stopTokens: new Int32Array(0) }, onEvent);
    };
    await runTiny(join(folder, "run"), "start", { ...options, ...sequences }, { sampled });
    const { user, system } = process.cpuUsage(before);
    return { seconds: (performance.now() - start) / 1e3, cpuSeconds: (user + system) / 1e6 };
  } finally {
    rmSync(folder, { recursive: true });
  }
}

function run(command: string, args: string[]): string {
  const { status, stdout, stderr, error } = spawnSync(command, args, { encoding: "utf8" });
  if (status !== 0) throw new Error(`${command}: ${error?.message ?? stderr}`);
  return stdout;
}

if (process.argv[1] === import.meta.filename) {
  readFlags({});
  console.log(standInTable(await standInTimes()));
}
