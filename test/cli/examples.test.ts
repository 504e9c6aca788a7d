import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Adapter, Engine } from "../../lib/index.js";
import { writeTinyModel } from "../tiny-model.js";
import { ROOT } from "./run.js";

const data = join(ROOT, "..", "shared", "data", "gsm8k");
let folder: string;
let model: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "tinylora-examples-"));
  model = await writeTinyModel(join(folder, "model"));
});
afterAll(() => rm(folder, { recursive: true }));

/** From a folder of its own: examples write their runs to where they are started. */
function startExample(name: string, args: readonly string[]) {
  const program = [
    "--import",
    join(ROOT, "node_modules", "tsx", "dist", "esm", "index.mjs"),
    join(ROOT, "examples", name),
    ...args,
  ];
  const env = {
    ...process.env,
    TINYLORA_CACHE: join(folder, "cache"),
    TSX_TSCONFIG_PATH: join(ROOT, "tsconfig.json"),
  };
  return spawnSync(process.execPath, program, { cwd: folder, env, encoding: "utf8" });
}

function runExample(name: string, args: readonly string[]): string {
  const { status, stdout, stderr } = startExample(name, args);
  expect(status, stderr).toBe(0);
  return stdout;
}

describe("examples", () => {
  it("use-adapter.ts", async () => {
    const engine = await Engine.load(model, { threads: 1 });
    const adapter = Adapter.create(engine).withVector(Float32Array.from({ length: 13 }, (_, i) => 0.1 * Math.cos(i)));
    engine.dispose();
    expect(runExample("use-adapter.ts", [adapter.toString(), model])).toMatch(
      /with the adapter: \d+ tokens; without: \d+ tokens/,
    );
  });

  it.skipIf(!existsSync(data))(
    "train-gsm8k.ts (needs ../shared/data/gsm8k)",
    () => {
      const output = runExample("train-gsm8k.ts", [model, "1"]);
      expect(output).toMatch(/step 1: reward /);
      expect(output).toMatch(/tl1-[\w-]+\nbase model: [\d.]+ % in/);
    },
    240_000,
  );

  it.each<[string, string[], string]>([
    ["train-gsm8k.ts", ["no-model"], "no-model: no such model: expected a folder or a .gguf file"],
    ["train-gsm8k.ts", [".", "ten"], "expected a number of steps, 1 or more, found ten"],
    ["use-adapter.ts", [], "expected an adapter, a run folder or a string that begins with tl1-, found nothing"],
    ["use-adapter.ts", ["no-adapter"], "no-adapter: no such adapter: expected a folder with adapter.json"],
    ["use-adapter.ts", ["tl1-x"], "tl1-x"],
  ])("%s %j says in one sentence what is wrong", (name, args, message) => {
    const { status, stderr } = startExample(name, args);
    expect(stderr).toMatch(/^error: .*\n$/);
    expect(stderr).toContain(message);
    expect(status).toBeGreaterThan(0);
  });
});
