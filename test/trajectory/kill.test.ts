import { type ChildProcess, spawn } from "node:child_process";
import { mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, expect, it } from "vitest";

const script = fileURLToPath(new URL("./fake-run.ts", import.meta.url));
let folder: string;
let straight: string;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "tinylora-"));
  straight = join(folder, "straight");
  expect(await ended(start(straight))).toEqual({ code: 0, errors: "" });
});
afterAll(() => rm(folder, { recursive: true, force: true }));

function start(run: string, ...more: string[]): ChildProcess {
  return spawn(process.execPath, ["--import", "tsx", script, run, ...more], { stdio: ["ignore", "ignore", "pipe"] });
}

async function ended(child: ChildProcess): Promise<{ code: number | null; errors: string }> {
  let errors = "";
  child.stderr!.on("data", (data: Buffer) => {
    errors += data.toString();
  });
  return new Promise((resolve) => child.once("close", (code) => resolve({ code, errors })));
}

/** Kills the process as soon as the run folder has this many lines of metrics, and `delay` ms more. */
async function killAfter(child: ChildProcess, run: string, lines: number, delay: number): Promise<void> {
  const end = ended(child);
  while (child.exitCode === null) {
    const text = await readFile(join(run, "metrics.jsonl"), "utf8").catch(() => "");
    if (text.split("\n").length - 1 >= lines) break;
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
  await new Promise((resolve) => setTimeout(resolve, delay));
  child.kill("SIGKILL");
  await end;
  expect(child.signalCode, "it was done before it could be killed").toBe("SIGKILL");
}

async function result(run: string) {
  const metrics = (await readFile(join(run, "metrics.jsonl"), "utf8"))
    .trim()
    .split("\n")
    .map((line) => {
      const { measured: _, ...rest } = JSON.parse(line) as Record<string, unknown>;
      return rest;
    });
  const state = await readFile(join(run, "checkpoints", "step-12", "state.json"), "utf8");
  const adapter = await readFile(join(run, "adapter", "adapter.safetensors"), "base64");
  const completions = await Promise.all(
    (await readdir(join(run, "completions"))).sort().map((name) => readFile(join(run, "completions", name), "utf8")),
  );
  return { metrics, state, adapter, completions, checkpoints: (await readdir(join(run, "checkpoints"))).sort() };
}

it.each([
  [[1, 0]],
  [
    [3, 0],
    [6, 3],
  ],
  [
    [4, 12],
    [7, 20],
  ],
])("kill -9 after %j lines of metrics and some ms changes nothing", async (...kills) => {
  const run = join(folder, `killed-${kills.flat().join("-")}`);
  for (const [i, [lines, delay]] of kills.entries()) {
    await killAfter(start(run, ...(i > 0 ? ["resume"] : [])), run, lines!, delay!);
  }
  const { code, errors } = await ended(start(run, "resume"));
  expect(errors).toBe("");
  expect(code).toBe(0);
  expect(await result(run)).toEqual(await result(straight));
});
