import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { buildCudasim, hasCudasim } from "./cudasim/build.js";

/**
 * Gives the tests a cache of their own, empty at first, no model of the user's and no colours. Builds what is missing or out of date
 * before the tests, whose files run two at a time: builds in one tree would wait for each other. TINYLORA_SETUP=off: take
 * the build as it is. Returns what clears up after the tests.
 */
export default function setup(): () => void {
  const cache = mkdtempSync(join(tmpdir(), "tinylora-cache-"));
  process.env.TINYLORA_CACHE = cache;
  process.env.TINYLORA_MODEL = "";
  delete process.env.FORCE_COLOR; // which console.log of numbers obeys
  if (process.env.TINYLORA_SETUP !== "off") build();
  return () => rmSync(cache, { recursive: true, force: true });
}

function build(): void {
  if (hasCudasim) buildCudasim();
  run("setup.mjs");
  run("native-tests.mjs", "--list");
}

function run(script: string, ...commandArguments: string[]): void {
  const path = join(import.meta.dirname, "..", "scripts", script);
  const { status } = spawnSync(process.execPath, [path, ...commandArguments], {
    stdio: ["ignore", "ignore", "inherit"],
  });
  if (status !== 0) throw new Error("the setup failed: its message is above");
}
