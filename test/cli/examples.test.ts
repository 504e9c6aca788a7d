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
function runExample(name: string, args: readonly string[]): string {
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
  const { status, stdout, stderr } = spawnSync(process.execPath, program, { cwd: folder, env, encoding: "utf8" });
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
});
