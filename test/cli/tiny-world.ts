import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { vi } from "vitest";
import { Engine } from "../../lib/index.js";
import { writeTinyModel } from "../tiny-model.js";

/** What commands find where nothing is named: a model and data sets of a few rows, in a folder of their own. */
export async function tinyWorld() {
  const folder = await mkdtemp(join(tmpdir(), "tinylora-commands-"));
  const model = await writeTinyModel(join(folder, "model"));
  vi.stubEnv("TINYLORA_MODEL", model);
  vi.stubEnv("TINYLORA_DATA", join(folder, "data"));
  vi.stubEnv("TINYLORA_CACHE", join(folder, "cache"));
  await mkdir(join(folder, "data", "gsm8k"), { recursive: true });
  await mkdir(join(folder, "data", "svamp"), { recursive: true });
  const sum = (i: number) => JSON.stringify({ question: `${i} + 1?`, answer: `It is.\n#### ${i + 1}` });
  for (const part of ["train", "test"]) {
    await writeFile(join(folder, "data", "gsm8k", `${part}.jsonl`), [1, 2, 3].map(sum).join("\n"));
  }
  const apples = [1, 2, 3, 4].map((i) => ({ ID: `s-${i}`, Body: `${i} apples`, Question: "How many?", Answer: i }));
  await writeFile(join(folder, "data", "svamp", "SVAMP.json"), JSON.stringify(apples));
  await mkdir(join(folder, "data", "amc23"));
  await writeFile(join(folder, "data", "amc23", "test.jsonl"), JSON.stringify({ problem: "1 + 1?", answer: "2" }));
  const engine = await Engine.load(model, { threads: 1 });
  const remove = async () => {
    engine.dispose();
    vi.unstubAllEnvs();
    await rm(folder, { recursive: true });
  };
  return { folder, model, engine, remove };
}
