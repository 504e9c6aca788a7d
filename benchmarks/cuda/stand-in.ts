/** Nanoseconds that the stand-in for the driver takes for one instruction of a warp: benchmarks/cuda/cudasim.cpp, built here. */
import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { cudasimLibrary } from "../../lib/native/cudasim.js";

export interface InstructionTime {
  readonly instruction: string;
  readonly nanoseconds: number;
}

export function standInTimes(): InstructionTime[] {
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

function run(command: string, args: string[]): string {
  const { status, stdout, stderr, error } = spawnSync(command, args, { encoding: "utf8" });
  if (status !== 0) throw new Error(`${command}: ${error?.message ?? stderr}`);
  return stdout;
}
