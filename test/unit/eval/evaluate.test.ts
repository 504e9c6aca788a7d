import fc from "fast-check";
import { describe, expect, it, vi } from "vitest";
import { resolveConfig } from "../../../lib/config/config.js";
import { askedAs, compare, type EvaluateOptions, evaluate, sharesOf } from "../../../lib/eval/evaluate.js";
import { passAtK } from "../../../lib/eval/pass-at-k.js";
import { differenceText, evaluationReport } from "../../../lib/eval/report.js";
import { FakePolicy } from "../train/fake-policy.js";

describe("passAtK", () => {
  it("is the share of the k-subsets with a right one", () => {
    expect(passAtK(4, 2, 1)).toBeCloseTo(0.5);
    expect(passAtK(4, 2, 2)).toBeCloseTo(5 / 6);
    expect(passAtK(4, 2, 3)).toBe(1);
    expect(passAtK(4, 0, 4)).toBe(0);
    expect(() => passAtK(2, 1, 3)).toThrow(/at least 3/);
  });

  it("is unbiased", () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 7 }), fc.nat({ max: 7 }), fc.nat({ max: 6 }), (n, right, less) => {
        const [c, k] = [right % (n + 1), 1 + (less % n)];
        let [hits, subsets] = [0, 0];
        for (let bits = 0; bits < 2 ** n; bits++) {
          const chosen = Array.from({ length: n }, (_, i) => i).filter((i) => bits & (1 << i));
          if (chosen.length !== k) continue;
          subsets++;
          if (chosen.some((i) => i < c)) hits++;
        }
        expect(passAtK(n, c, k)).toBeCloseTo(hits / subsets, 10);
      }),
    );
  });
});

describe("evaluate", () => {
  const examples = Array.from({ length: 6 }, (_, i) => ({
    id: `e/${i}`,
    question: `q${i}`,
    answer: String(i),
    row: {},
  }));
  const options = {
    max_completion_length: 12,
    shots: 0,
  };

  it("asks as training does, and greedily, unless told otherwise", async () => {
    const short = { max_completion_length: 12 };
    const said = async (options?: EvaluateOptions) => {
      const policy = new FakePolicy();
      const asked = vi.spyOn(policy, "submit");
      const { completions } = await evaluate(policy, examples, { ...options, ...short });
      return { completions, asked: asked.mock.calls.map(([request]) => request) };
    };
    const sampling = { samples: 1, temperature: 0, top_p: 1, top_k: 0, min_p: 0, seed: 0, k: [] };
    const all = { ...askedAs(resolveConfig({})), slot: -1, ...sampling };
    expect(await said()).toEqual(await said(all));
    expect(await said({ shots: undefined, temperature: undefined })).toEqual(await said(all));
    expect(await said({ samples: 2, seed: 3 })).toEqual(await said({ ...all, samples: 2, temperature: 1, seed: 3 }));
    expect((await said({ samples: 2 })).completions).not.toEqual((await said({ samples: 2, seed: 3 })).completions);
  });

  it("asks as a run does", () => {
    const style = { prompt_style: "text", shots: 1, system: "Be brief.", suffix: "So:" } as const;
    const asked = { ...style, max_completion_length: 9, stop: ["\n"] };
    expect(askedAs(resolveConfig({ ...asked, seed: 3 }))).toEqual(asked);
  });

  it("refuses options that it does not know", async () => {
    const misspelt = { sampels: 3 } as EvaluateOptions;
    await expect(evaluate(new FakePolicy(), examples, misspelt)).rejects.toThrow(/^options: unknown option sampels, /);
  });

  /** Problems that all have the answer 5: completions end in any order, and so which problem gets which text. */
  const fives = examples.map((example) => ({ ...example, answer: "5" }));

  /** Says these texts in turn. */
  function saying(...texts: string[]): FakePolicy {
    const policy = new FakePolicy();
    let said = 0;
    policy.tokenizer.decode = () => texts[said++ % texts.length]!;
    return policy;
  }

  it("counts strict, lenient and format, each for itself", async () => {
    const texts = ["#### 5", "it is 5", "it is 5", "#### 7", "\\boxed{8}", "#### 9", "no", "no"];
    const result = await evaluate(saying(...texts), fives, { ...options, samples: 8, k: [1] });
    const shares = { strict: expect.closeTo(1 / 8, 10), lenient: expect.closeTo(3 / 8, 10) };
    expect(result).toMatchObject({ problems: 6, samples: 8, ...shares, format: expect.closeTo(4 / 8, 10) });
    expect(result.passAtK).toEqual([{ k: 1, ...shares }]);
  });

  it("gives every completion in order, and shares that fit together", async () => {
    const seen: number[] = [];
    const result = await evaluate(saying("it is 1", "it is 3", "#### 4", "no", "it is 5"), fives, {
      ...options,
      samples: 8,
      temperature: 1,
      k: [1, 8],
      onProgress: (done) => void seen.push(done),
    });
    expect(seen.at(-1)).toBe(48);
    expect(result.lenient).toBeGreaterThan(0);
    expect(result.completions.map(({ id, sample }) => `${id}/${sample}`)).toEqual(
      examples.flatMap(({ id }) => Array.from({ length: 8 }, (_, i) => `${id}/${i}`)),
    );
    const share = (key: "strict" | "lenient" | "format") => result.completions.filter((one) => one[key]).length / 48;
    expect([result.strict, result.lenient, result.format]).toEqual(
      [share("strict"), share("lenient"), share("format")].map((x) => expect.closeTo(x, 10)),
    );
    const tokens = result.completions.reduce((sum, one) => sum + one.tokens, 0);
    expect(result).toMatchObject({ tokens, meanLength: expect.closeTo(tokens / 48, 10) });
    const cut = result.completions.filter(({ truncated }) => truncated);
    expect(result.truncated).toBeCloseTo(cut.length / 48, 10);
    expect(cut.map((one) => one.tokens)).toEqual(cut.map(() => 12));
    expect([0, 48]).not.toContain(cut.length);
    expect(result.passAtK[0]!.lenient).toBeCloseTo(result.lenient, 10);
    expect(result.passAtK[1]!.lenient).toBeGreaterThan(result.lenient);
    expect(result.majAtK[0]!.lenient).toBeCloseTo(result.lenient, 10);
    expect(result.majAtK.map(({ k }) => k)).toEqual([1, 8]);
  });

  it("compares problem by problem, and reports it in Markdown", async () => {
    const levels = fives.map((example, i) => ({ ...example, row: { level: i % 2 } }));
    const settings = { ...options, samples: 8, temperature: 1, k: [1, 4] };
    const first = await evaluate(saying("it is 5", "it is 3", "#### 5", "no", "it is 5"), levels, settings);
    const second = await evaluate(saying("it is 5", "no", "no", "it is 4", "no"), levels, settings);
    const difference = compare(second, first);
    expect(difference.mean).toBeGreaterThan(0);
    expect(difference.mean).toBeCloseTo(first.lenient - second.lenient, 10);
    expect(sharesOf(first)).toHaveLength(6);
    expect(first.breakdown.level!.map(({ value, problems }) => [value, problems])).toEqual([
      ["0", 3],
      ["1", 3],
    ]);
    expect(() => compare(second, { ...first, completions: first.completions.slice(8) })).toThrow(/same problems/);

    const report = evaluationReport({
      model: "a|model",
      adapter: "runs/a",
      compare: "base",
      sampling: { temperature: 1, stop: ["\n"] },
      results: [{ data: "sums", split: "test", evaluation: first, compared: { evaluation: second, difference } }],
    });
    const lines = report.split("\n");
    expect(lines).toContain("| model | `a\\|model` |");
    expect(lines).toContain('| stop | `["\\n"]` |');
    expect(lines.some((line) => line.startsWith("| sums test | `runs/a` | 6 x 8 | "))).toBe(true);
    expect(report).toMatch(
      /Paired difference: [+-]\d+\.\d\d % \(95 % between .*; better on \d, worse on \d of 6 problems\)\./,
    );
    expect(report).toMatch(/\| k \| pass@k \| pass@k strict \| maj@k \|\n(?:.*\n){2}\| 4 \|/);
    expect(report).toMatch(/\| level \| problems \| lenient \| strict \|\n.*\n\| 0 \| 3 \|/);
  });

  it("tells a difference by its sign", () => {
    const counts = { problems: 200, better: 5, worse: 12, standardError: 0.1 };
    expect(differenceText({ mean: -0.031, interval: [-0.0568, 0.0052], ...counts })).toBe(
      "-3.10 % (95 % between -5.68 % and +0.52 %; better on 5, worse on 12 of 200 problems)",
    );
    expect(differenceText({ mean: 0.031, interval: null, ...counts })).toBe(
      "+3.10 % (better on 5, worse on 12 of 200 problems)",
    );
  });

  it("is the same twice", async () => {
    const [a, b] = [
      await evaluate(new FakePolicy(), examples, options),
      await evaluate(new FakePolicy(), examples, options),
    ];
    expect(b.completions).toEqual(a.completions);
  });

  it.each<[EvaluateOptions | object, string]>([
    [{ shots: -1 }, "options: shots: expected at least 0, found -1"],
    [{ prompt_style: "verse" }, "options: prompt_style: expected one of chat, "],
    [{ stop: "end" }, 'options: stop: expected a list, found "end"'],
    [{ max_completion_length: "80" }, 'options: max_completion_length: expected a number, found "80"'],
    [{ temperature: Number.NaN }, "options: temperature: expected a number, found NaN"],
    [{ samples: 1.5 }, "samples: expected a whole number from 1 to 65536, found 1.5"],
    [{ k: 1 }, "k: expected a list of whole numbers from 1 to 1, the samples of a problem, found 1"],
  ])("refuses %j before anything is sampled", async (wrong, told) => {
    const policy = new FakePolicy();
    await expect(evaluate(policy, examples, { ...options, ...wrong } as EvaluateOptions)).rejects.toThrow(told);
    expect(policy.sampled).toBe(0);
  });

  it("refuses a whole data set, of which it cannot know the part", async () => {
    const whole = evaluate(new FakePolicy(), { name: "e", train: [], test: examples } as never);
    await expect(whole).rejects.toThrow(/^evaluation: expected a list of problems, found \{"name":"e"/);
  });

  it("refuses nothing to evaluate, k that is no number of samples, and prompts beyond the context", async () => {
    await expect(evaluate(new FakePolicy(), [], options)).rejects.toThrow(/expected problems, found none/);
    for (const k of [2, 0, 0.5]) {
      await expect(evaluate(new FakePolicy(), examples, { ...options, k: [k] })).rejects.toThrow(
        `k: expected a list of whole numbers from 1 to 1, the samples of a problem, found [${k}]`,
      );
    }
    await expect(evaluate(new FakePolicy(), examples, { ...options, max_completion_length: 300 })).rejects.toThrow(
      /e\/0: the prompt's \d+ tokens and 300 of the completion exceed the model's context of 256: lower max_completion_length/,
    );
    const narrow = new FakePolicy();
    Object.assign(narrow.model.config, { context: 2 });
    await expect(evaluate(narrow, examples, options)).rejects.toThrow(
      /e\/0: the prompt's 2 tokens fill the model's context of 2: give fewer shots/,
    );
    Object.assign(narrow.model.config, { context: 2 + 11 });
    await expect(evaluate(narrow, examples, options)).rejects.toThrow(/2 tokens and 12 of the completion exceed/);
    Object.assign(narrow.model.config, { context: 2 + 12 });
    expect((await evaluate(narrow, examples, options)).problems).toBe(6);
  });

  it("stops at the signal", async () => {
    await expect(evaluate(new FakePolicy(), examples, { ...options, signal: AbortSignal.abort() })).rejects.toThrow(
      /abort/i,
    );
  });
});
