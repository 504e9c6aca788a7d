import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { buildCudasim, hasNvcc } from "./cudasim/build.js";

/** Builds what is missing or out of date before the tests. TINYLORA_SETUP=off: take the build as it is. */
export default function setup(): void {
  if (process.env.TINYLORA_SETUP === "off") return;
  if (hasNvcc) buildCudasim();
  const script = join(import.meta.dirname, "..", "scripts", "setup.mjs");
  const { status } = spawnSync(process.execPath, [script], { stdio: "inherit" });
  if (status !== 0) throw new Error("the setup failed: its message is above");
}
