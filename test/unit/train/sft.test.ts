import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { resolveConfig } from "../../../lib/config/config.js";
import type { SftOptions } from "../../../lib/config/method.js";
import type { Dataset } from "../../../lib/data/load.js";
import { solutionOf } from "../../../lib/data/solution.js";
import { toLesson } from "../../../lib/train/sft.js";
import { SftTrainer } from "../../../lib/train/sft-trainer.js";
import { statesOf } from "../run/states-of.js";
import { FakePolicy } from "./fake-policy.js";

const problem = (i: number, solution: string) => ({ id: `p/${i}`, question: `${i}?`, answer: "", row: { solution } });
const data: Dataset = { name: "fake", train: ["7", "12", "345"].map((text, i) => problem(i, text)), test: [] };
const small: SftOptions = {
  ...{ prompt_style: "text", shots: 0, num_prompts: 3, max_steps: 1, eval_steps: 0, learning_rate: 0.5 },
  ...{ optim: "sgd", max_grad_norm: 0 },
};

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "tinylora-"));
});
afterEach(() => rm(folder, { recursive: true }));

async function train(config: SftOptions, policy = new FakePolicy()): Promise<Float32Array> {
  const trainer = new SftTrainer({ engine: policy, adapter: policy.adapter(), data, config: { ...small, ...config } });
  return (await trainer.train()).adapter.v;
}

/** Mean of -log p and of the entropy over the answers and their ends, sequence by sequence, with v. */
async function meanOf(policy: FakePolicy, v: Float32Array): Promise<{ loss: number; entropy: number }> {
  policy.setVector(0, v);
  let [loss, entropy, count] = [0, 0, 0];
  for (const { question, row } of data.train) {
    const prompt = policy.tokenizer.encode(`Question: ${question}\nAnswer:`);
    const answer = [...policy.tokenizer.encode(` ${row.solution}`), ...policy.tokenizer.stopTokens];
    const { logprobs, entropies } = await policy.forward({
      tokens: Int32Array.from([...prompt, ...answer]),
      starts: Int32Array.of(0, prompt.length + answer.length),
      parents: Int32Array.of(-1),
      slots: Int32Array.of(0),
      scored: Uint8Array.of(1),
      temperatures: Float32Array.of(1),
      keep: false,
    });
    for (const logp of logprobs.slice(prompt.length)) loss -= logp;
    for (const value of entropies.slice(prompt.length)) entropy += value;
    count += answer.length;
  }
  return { loss: loss / count, entropy: entropy / count };
}

describe("a step of supervised fine-tuning", () => {
  it("follows the slope of the mean of -log p over answers and their ends", async () => {
    const policy = new FakePolicy();
    const config: SftOptions = { ...small, max_steps: 2 };
    await new SftTrainer({ engine: policy, adapter: policy.adapter(), data, config, run: folder }).train();
    const lines = (await readFile(join(folder, "metrics.jsonl"), "utf8")).trim().split("\n");
    const states = await statesOf(folder);
    const tokens = 3 * 4 + (2 + 1) + (3 + 1) + (4 + 1); // prompts of 4, answers after a space
    for (const step of [1, 2]) {
      const { measured, ...metrics } = JSON.parse(lines[step - 1]!);
      const [before, after] = [states[step - 1]!.optimizer.master, states[step]!.optimizer.master];
      const gradient = states[step]!.lastGradient!;
      const { loss, entropy } = await meanOf(policy, before);
      expect(metrics).toEqual({
        ...{ step, epoch: step, learning_rate: 0.5, num_tokens: step * tokens },
        loss: expect.closeTo(loss, 6),
        entropy: expect.closeTo(entropy, 6),
        grad_norm: expect.closeTo(Math.hypot(...gradient), 12),
      });
      expect(Object.keys(measured)).toEqual(["step_time", "tokens_per_second/training", "memory/peak_rss"]);
      expect(measured["tokens_per_second/training"] * measured.step_time).toBeGreaterThan(tokens); // a part of the step
      for (const [i, slope] of gradient.entries()) {
        const at = (h: number) =>
          meanOf(
            policy,
            before.map((value, k) => (k === i ? value + h : value)),
          );
        expect(slope).toBeCloseTo(((await at(1e-2)).loss - (await at(-1e-2)).loss) / 2e-2, 4);
        expect(after[i]).toBeCloseTo(before[i]! - 0.5 * slope, 6);
      }
    }
  });

  it("is the same for any token budget", async () => {
    const whole = await train({ max_steps: 3 });
    const parted = await train({ max_steps: 3, token_budget: 9 });
    for (const [i, value] of whole.entries()) expect(parted[i]).toBeCloseTo(value, 6);
    expect(Math.hypot(...whole)).toBeGreaterThan(0);
  });

  it("refuses a budget that an answer does not fit in, naming the longest, or leaves out those that do not", async () => {
    await expect(train({ token_budget: 6 })).rejects.toThrow(
      "token_budget: expected at least 9 for the prompt and the answer of p/2, found 6",
    );
    const policy = new FakePolicy();
    await train({ token_budget: 8, skip_bad: true, num_prompts: 2 }, policy);
    expect(policy.rows).toBe(7 + 8);
  });

  it("packs lessons into passes that keep to the budget", async () => {
    const rows: number[][] = [];
    for (const token_budget of [24, 16, 15]) {
      const policy = new FakePolicy();
      const { forward } = policy;
      const seen: number[] = [];
      policy.forward = (batch, signal) => {
        seen.push(batch.tokens.length);
        return forward.call(policy, batch, signal);
      };
      await train({ token_budget, seed: 1 }, policy);
      rows.push(seen);
    }
    expect(rows).toEqual([[24], [8, 16], [8, 9, 7]]);
  });
});

describe("a lesson", () => {
  const policy = new FakePolicy();
  const lesson = (text: string, options: SftOptions = {}) =>
    toLesson(policy, problem(0, text), resolveConfig({ ...small, ...options }));

  it("ends with the model's own end, of several", () => {
    const end = policy.tokenizer.stopTokens[0]!;
    const seven = policy.tokenizer.encode(" 7");
    expect(lesson("7")).toEqual({ tokens: [...policy.tokenizer.encode("wer:"), ...seven, end], prompt: 4 });
    expect(lesson("7", { prompt_style: "chat" }).tokens.slice(-2)).toEqual([seven[1], end]);
    const own = new FakePolicy();
    Object.assign(own.tokenizer, { eos: 3 });
    expect(toLesson(own, problem(0, "7"), resolveConfig(small)).tokens.at(-1)).toBe(3);
    Object.assign(own.tokenizer, { eos: undefined, stopTokens: [] });
    expect(toLesson(own, problem(0, "7"), resolveConfig(small)).tokens).toHaveLength(4 + 2);
  });

  it.each<[row: Record<string, unknown>, column: string | null, solution: string]>([
    [{ answer: "7", solution: " 3 + 4 = 7 " }, null, "3 + 4 = 7"],
    [{ solution: "", rationale: "3 + 4", completion: 7 }, null, "3 + 4"],
    [{ question: "3 + 4?" }, null, "seven"],
    [{ worked: "3 + 4 = 7 #### 7", answer: "7" }, "worked", "3 + 4 = 7 #### 7"],
    [{ of: { it: "3 + 4 = 7" } }, "of.it", "3 + 4 = 7"],
    [{ last: "7", solution: "3 + 4 = 7" }, "last", "3 + 4 = 7"],
  ])("of %j with answer_column %j teaches %j", (row, column, solution) => {
    expect(solutionOf({ id: "a", question: "3 + 4?", answer: "seven", row }, column)).toBe(solution);
  });

  it("fits in the model, or says that it does not", () => {
    const narrow = new FakePolicy();
    Object.assign(narrow.model.config, { context: 6 });
    expect(() => toLesson(narrow, problem(0, "7"), resolveConfig(small))).toThrow(
      "p/0: expected at most 6 tokens (the model's context), found 7",
    );
    expect(() => lesson("")).toThrow("p/0: expected an answer to learn, found none");
  });
});
