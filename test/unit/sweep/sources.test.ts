import { readdir, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { Adapter, Engine, runSweep } from "../../../lib/index.js";
import { smallSweep } from "./small-sweep.js";

let folder: string;
/** What both methods use, and with what only GRPO does. */
let common: Readonly<Record<string, unknown>>;
let base: Readonly<Record<string, unknown>>;
beforeEach(async () => {
  ({ folder, common, base } = await smallSweep());
});
afterEach(() => rm(folder, { recursive: true, force: true }));

describe("what a sweep names", () => {
  it("starts nothing where something that a member names is missing, or does not fit", async () => {
    const out = join(folder, "out");
    const write = async (name: string, text: string) => {
      await writeFile(join(folder, name), text);
      return join(folder, name);
    };
    await using engine = await Engine.load(String(base.model), { threads: 1 });
    const start = join(folder, "start");
    await Adapter.create(engine, { u: 3 }).save(start);
    const cases: [grid: Record<string, unknown>, message: RegExp][] = [
      [{ model: [base.model, "nowhere"] }, /^sweep: nowhere: no such model.* \(in 1 of 2 members\)$/],
      [{ model: [folder] }, /expected config\.json or one \.gguf file, found neither$/],
      [{ rewards: [["format"], ["anwser"]] }, /^sweep: rewards: .*nearest: answer.* \(in 1 of 2 members\)$/],
      [{ rewards: [["./nowhere.mjs"]] }, /^sweep: rewards: \.\/nowhere\.mjs cannot be loaded/],
      [{ data: [base.data, "svmp"] }, /^sweep: data: expected a file .*nearest: svamp.* \(in 1 of 2 members\)$/],
      [{ data: ["nowhere.jsonl"] }, /^sweep: nowhere\.jsonl/],
      [{ data: [await write("bad.jsonl", '{"question": "1+1?", "answer": "2"}\n{"qu\n')] }, /bad\.jsonl:2/],
      [{ eval_data: [null, "nowhere.csv"] }, /^sweep: nowhere\.csv.* \(in 1 of 2 members\)$/],
      [
        { cache_tokens: [32, 64], max_completion_length: [8, 60] },
        /^sweep: cache_tokens: expected at least 8\d for the prompt and a completion of .*sums\.jsonl\/\d+, found 32 \(in 1 of 4 members\)$/,
      ],
      [{ token_budget: [16, 2048] }, /^sweep: token_budget: expected at least .* found 16 \(in 1 of 2 members\)$/],
      [
        {
          eval_data: await write("long.jsonl", `{"question": "${"1+".repeat(40)}1?", "answer": "41"}\n`),
          cache_tokens: 64,
        },
        /^sweep: cache_tokens: expected at least .* for the prompt and a completion of .*long\.jsonl\/1, found 64$/,
      ],
      [{ start_from: [null, "nowhere"] }, /^sweep: nowhere: no such adapter.* \(in 1 of 2 members\)$/],
      [{ start_from: start, u: [3, 4] }, /^sweep: start_from: .* expected u: 3 \(found 4\) \(in 1 of 2 members\)$/],
    ];
    for (const [grid, message] of cases) {
      await expect(runSweep({ sweep: { base, grid }, folder: out }), JSON.stringify(grid)).rejects.toThrow(message);
    }
    expect(await readdir(folder)).not.toContain("out");
    await writeFile(join(folder, "config.json"), "{}");
    await expect(runSweep({ sweep: { base }, folder })).rejects.toThrow(/config\.json: not the config of a run/);
    await runSweep({ sweep: { base: { ...common, method: "sft", u: 3, start_from: start } }, folder: out });
  });
});
