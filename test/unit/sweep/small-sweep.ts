import { mkdtemp, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { writeTinyModel } from "../../tiny-model.js";

type Options = Readonly<Record<string, unknown>>;

/** A new folder with a tiny model and twenty sums, and options of members that train on them for two steps. */
export async function smallSweep(): Promise<{ folder: string; common: Options; base: Options }> {
  const folder = await mkdtemp(join(tmpdir(), "tinylora-sweep-"));
  const model = await writeTinyModel(join(folder, "model"));
  const data = join(folder, "sums.jsonl");
  const rows = Array.from({ length: 20 }, (_, i) => ({ question: `${i}+1?`, solution: `#### ${i + 1}` }));
  await writeFile(data, rows.map((row) => `${JSON.stringify(row)}\n`).join(""));
  const common = {
    ...{ model, data, shots: 0, threads: 1, prompt_style: "text", num_prompts: 2 },
    ...{ max_completion_length: 8, max_steps: 2, eval_steps: 2, eval_examples: 2 },
  };
  return { folder, common, base: { ...common, num_generations: 2, rewards: ["digits"] } };
}
