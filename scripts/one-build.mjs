// Builds in one tree take turns: two at a time would write each other's files.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const root = dirname(dirname(fileURLToPath(import.meta.url)));

/**
 * What `build` gives, which no other process runs for this tree meanwhile. The lock is CMake's, one of the system's own:
 * it goes with the process, however that ends.
 */
export async function oneBuild(tree, build) {
  mkdirSync(dirname(tree), { recursive: true });
  const script = join(root, "cmake", "hold-lock.cmake");
  const holder = spawn("cmake", [`-DLOCK=${tree}.lock`, "-P", script], { stdio: ["pipe", "pipe", "inherit"] });
  const ended = once(holder, "exit");
  const held = await Promise.race([once(holder.stdout, "data").then(() => true), ended.then(() => false)]);
  if (!held) throw new Error(`${tree}.lock: cannot be locked`);
  try {
    return build();
  } finally {
    holder.stdin.end();
    await ended;
  }
}
