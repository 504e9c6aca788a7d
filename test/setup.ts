import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { buildCudasim, hasCudasim } from "./cudasim/build.js";

/**
 * Builds what is missing or out of date before the tests, whose files run two at a time: builds in one tree would wait
 * for each other. TINYLORA_SETUP=off: take the build as it is.
 */
export default function setup(): void {
  if (process.env.TINYLORA_SETUP === "off") return;
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
