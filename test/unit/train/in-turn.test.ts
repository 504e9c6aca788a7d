import { afterEach, describe, expect, it, vi } from "vitest";
import type { Dataset } from "../../../lib/data/load.js";
import { GrpoTrainer } from "../../../lib/train/grpo-trainer.js";
import type { Progress } from "../../../lib/train/progress.js";
import { SftTrainer } from "../../../lib/train/sft-trainer.js";
import { FakePolicy } from "./fake-policy.js";

/** One whose tokenizer takes 2 ms a text, on a clock that stands still otherwise. */
class SlowPolicy extends FakePolicy {
  encoded = 0;
  constructor() {
    super();
    vi.spyOn(performance, "now").mockImplementation(() => 2 * this.encoded);
    const { encode } = this.tokenizer;
    this.tokenizer.encode = (text) => {
      this.encoded++;
      return encode(text);
    };
  }
}
afterEach(() => vi.restoreAllMocks());

const dataOf = (count: number): Dataset => ({
  name: "fake",
  train: Array.from({ length: count }, (_, i) => ({
    ...{ id: `fake/train/${i + 1}`, question: `question ${i}`, answer: "7" },
    row: { question: `question ${i}`, solution: "7" },
  })),
  test: [],
});

describe("a step of thousands of problems", () => {
  it.each(["sft", "grpo"] as const)("stops at the signal while they are tokenized: %s", async (method) => {
    const engine = new SlowPolicy();
    const options = { engine, adapter: engine.adapter(), data: dataOf(1000) };
    const common = { shots: 0, num_prompts: 1000, max_steps: 1, eval_steps: 0 };
    const trainer =
      method === "sft"
        ? new SftTrainer({ ...options, config: common })
        : new GrpoTrainer({
            ...options,
            rewards: { one: () => 1 },
            config: { ...common, num_generations: 2, max_completion_length: 8 },
          });
    const controller = new AbortController();
    const phases: Progress["phase"][] = [];
    const { stopped } = await trainer.train({
      signal: controller.signal,
      onProgress: ({ phase }) => {
        if (phases.push(phase) === 3) setImmediate(() => controller.abort()); // in the turn that others get here
      },
    });
    expect(stopped).toBe("aborted");
    expect(phases).toEqual(["tokenizing", "tokenizing", "tokenizing"]);
    expect(engine.encoded).toBeLessThan(100);
  });

  it("tokenizes each once, and warns where there are not so many", async () => {
    const engine = new SlowPolicy();
    const config = { shots: 0, num_prompts: 1000, max_steps: 1, eval_steps: 0 };
    const warnings: string[] = [];
    const onWarning = (message: string) => void warnings.push(message);
    await new SftTrainer({ engine, adapter: engine.adapter(), data: dataOf(30), config }).train({ onWarning });
    expect(engine.encoded).toBe(2 + 3 * 30); // what stands around a question, the fingerprint of prompts; prompt, both, and the answer, since the fake's "both" does not begin with the prompt
    expect(warnings).toEqual([
      "num_prompts: a step takes 1000 problems, of 30 there are: each comes up to 34 times in it",
    ]);
    const enough = { engine, adapter: engine.adapter(), data: dataOf(30), config: { ...config, num_prompts: 30 } };
    await new SftTrainer(enough).train({ onWarning });
    expect(warnings).toHaveLength(1);
  });
});
