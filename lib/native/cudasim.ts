import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { TinyLoraError } from "../error.js";
import { packageRoot } from "../version.js";

/**
 * The stand-in for the CUDA driver: a library that interprets the kernels' PTX on the CPU, for tests and counters. Built
 * from test/cudasim where that has not been done.
 */
export function cudasimLibrary(): string {
  const root = packageRoot();
  const library = join(root, ".cache", "cudasim", "test", "cudasim", "libcudasim.so");
  if (existsSync(library)) return library;
  if (process.arch !== "x64") {
    throw new TinyLoraError(
      "ERR_DEVICE",
      `cudasim: expected an x86-64 processor, which the stand-in is written for; found ${process.arch}`,
    );
  }
  const script = join(root, "scripts", "build-cudasim.mjs");
  if (!existsSync(script)) {
    throw new TinyLoraError(
      "ERR_DEVICE",
      "cudasim: expected a checkout of the source, which has the stand-in; found the package",
    );
  }
  console.error("tinylora-native: building the stand-in for the CUDA driver (about a minute) ...");
  const { status, stderr } = spawnSync(process.execPath, [script], { encoding: "utf8" });
  if (status === 0) return library;
  throw new TinyLoraError("ERR_DEVICE", `cudasim: ${stderr.trim().split("\n").at(-1) || "its build was ended"}`);
}
