import { cp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { Adapter, Engine, planSweep, runSweep } from "../../../lib/index.js";
import { checkSources } from "../../../lib/sweep/sources.js";
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
    const narrow = join(folder, "narrow");
    await cp(String(base.model), narrow, { recursive: true });
    const shape = JSON.parse(await readFile(join(narrow, "config.json"), "utf8"));
    await writeFile(join(narrow, "config.json"), JSON.stringify({ ...shape, num_key_value_heads: 1 }));
    const rows = (count: number) =>
      Array.from({ length: count }, (_, i) => `{"question": "${i}+1?", "answer": "${i + 1}"}\n`).join("");
    const cases: [grid: Record<string, unknown>, message: RegExp][] = [
      [{ model: [base.model, "nowhere"] }, /^sweep: nowhere: no such model.* \(in 1 of 2 members\)$/],
      [{ model: narrow, r: [8, 9] }, /^sweep: r: expected at most 8, .*k_proj .* found 9 \(in 1 of 2 members\)$/],
      [{ device: ["cpu", "gpu"] }, /^sweep: device: expected cpu, .*found "gpu" \(in 1 of 2 members\)$/],
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
      [{ question_column: [null, "task"] }, /^sweep: .* named "task".* \(in 1 of 2 members\)$/],
      [
        { cache_tokens: 64, suffix: [null, "step by step ".repeat(9)] },
        /^sweep: cache_tokens: expected at least .* found 64 \(in 1 of 2 members\)$/,
      ],
      [
        {
          data: await write("one-long.jsonl", `${rows(20)}{"question": "${"1+".repeat(40)}1?", "answer": "41"}\n`),
          cache_tokens: 64,
          num_prompts: [1, 21],
        },
        /^sweep: cache_tokens: expected at least .*one-long\.jsonl\/21, found 64 \(in 1 of 2 members\)$/,
      ],
      [
        { data: await write("open.jsonl", '{"question": "Say 1."}\n'.repeat(9)), rewards: [["digits"], ["answer"]] },
        /^sweep: .*open\.jsonl\/\d: expected an answer .* \(in 1 of 2 members\)$/,
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
    const lessons = { ...common, method: "sft", u: 3, start_from: start };
    await expect(runSweep({ sweep: { base: { ...lessons, token_budget: 9 } }, folder: out })).rejects.toThrow(
      /^sweep: token_budget: expected at least \d+ for the prompt and the answer of .*, found 9$/,
    );
    const long = await write("long-answer.jsonl", `{"question": "1+1?", "answer": "${"2".repeat(99)}"}\n`);
    const both = { base: { ...common, data: long, token_budget: 64 }, grid: { method: ["grpo", "sft"] } };
    await expect(runSweep({ sweep: both, folder: out })).rejects.toThrow(/ the answer of .*\(in 1 of 2 members\)$/);
    await runSweep({ sweep: { base: lessons }, folder: out });
  });

  it("is looked at without the hub", async () => {
    vi.stubEnv("HF_ENDPOINT", "http://127.0.0.1:1"); // nobody answers
    for (const source of ["data", "eval_data"]) {
      await checkSources(await planSweep({ base: { ...base, [source]: "hf://datasets/owner/name" } }));
    }
    vi.unstubAllEnvs();
  });
});
