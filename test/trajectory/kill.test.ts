import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, expect, it } from "vitest";

const script = fileURLToPath(new URL("./fake-run.ts", import.meta.url));
let folder: string;
let straight: string;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "tinylora-"));
  straight = join(folder, "straight");
  expect(await make(straight, "start")).toEqual({ code: 0, signal: null, errors: "" });
});
afterAll(() => rm(folder, { recursive: true, force: true }));

/** The run's process, to its end. `kill`: a step, and the milliseconds after it. */
async function make(run: string, mode: "start" | "resume", kill: readonly number[] = []) {
  const child = spawn(process.execPath, ["--import", "tsx", script, run, mode, ...kill.map(String)], {
    stdio: ["ignore", "ignore", "pipe"],
  });
  const [errors, [code, signal]] = await Promise.all([text(child.stderr), once(child, "close")]);
  return { code: code as number | null, signal: signal as string | null, errors };
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
  [[0, 0]],
  [
    [2, 0],
    [5, 3],
  ],
  [
    [3, 12],
    [6, 20],
  ],
])("kill -9 after the step %j and some ms changes nothing", async (...kills) => {
  const run = join(folder, `killed-${kills.flat().join("-")}`);
  for (const [i, kill] of kills.entries()) {
    expect(await make(run, i > 0 ? "resume" : "start", kill)).toMatchObject({ signal: "SIGKILL" });
  }
  expect(await make(run, "resume")).toEqual({ code: 0, signal: null, errors: "" });
  expect(await result(run)).toEqual(await result(straight));
});
