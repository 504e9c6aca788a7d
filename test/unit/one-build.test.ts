// Builds of one tree by several processes.
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";

const script = join(import.meta.dirname, "../../scripts/one-build.mjs");

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "tinylora-one-build-"));
});
afterEach(() => rm(folder, { recursive: true }));

/** A process that writes `begin` and `end` to the log, with a build of so many milliseconds between them. */
function build(milliseconds: number): ChildProcess {
  const program = `import { appendFileSync } from "node:fs";
import { oneBuild } from ${JSON.stringify(script)};
const log = (word) => appendFileSync(${JSON.stringify(join(folder, "log"))}, word + " ");
await oneBuild(${JSON.stringify(join(folder, "cache", "tree"))}, () => {
  log("begin");
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ${milliseconds});
  log("end");
});`;
  return spawn(process.execPath, ["--input-type=module", "-e", program], { stdio: "inherit" });
}

const log = () => readFile(join(folder, "log"), "utf8").catch(() => "");

it("lets one process at a time build in a tree", async () => {
  const codes = await Promise.all([200, 200, 200].map(async (time) => (await once(build(time), "exit"))[0]));
  expect(codes).toEqual([0, 0, 0]);
  expect(await log()).toBe("begin end ".repeat(3));
});

it("goes on where one that builds is killed", async () => {
  const killed = build(60_000);
  while ((await log()) === "") await new Promise((resolve) => setTimeout(resolve, 10));
  const other = build(0);
  killed.kill("SIGKILL");
  expect((await once(other, "exit"))[0]).toBe(0);
  expect(await log()).toBe("begin begin end ");
});
