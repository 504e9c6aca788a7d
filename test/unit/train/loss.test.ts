import { readFileSync } from "node:fs";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { resolveConfig } from "../../../lib/config/config.js";
import { standardDeviation } from "../../../lib/mean.js";
import { advantagesOf } from "../../../lib/train/advantage.js";
import { type LossOptions, type LossSequence, passLoss } from "../../../lib/train/loss.js";

interface Golden {
  losses: {
    options: LossOptions;
    passes: number;
    sequences: (LossSequence & { gradient: number[]; logprobs: number[] })[];
    loss: number;
    metrics: Record<string, number>;
  }[];
  advantages: {
    options: Parameters<typeof advantagesOf>[3];
    group: number;
    weights: number[];
    scores: (number | null)[][];
    advantages: number[];
  }[];
}
const golden = JSON.parse(readFileSync(new URL("../../golden/losses.json", import.meta.url), "utf8")) as Golden;

function denominators(sequences: LossSequence[], passes: number) {
  const tokens = sequences.reduce((sum, s) => sum + (s.masked ? 0 : s.logprobs.length), 0);
  return { sequences: sequences.length, tokens, passes };
}

describe("loss against TRL", () => {
  it("has at least 40 cases", () => expect(golden.losses.length).toBeGreaterThanOrEqual(40));

  it.each(golden.losses.map((value, index) => ({ ...value, index })))(
    "$index: $options.loss_type, $options.importance_sampling_level, beta $options.beta, passes $passes",
    ({ options, passes, sequences, loss, metrics }) => {
      const size = sequences.length / passes;
      const found = Array.from({ length: passes }, (_, p) =>
        passLoss(sequences.slice(p * size, (p + 1) * size), denominators(sequences, passes), options),
      ).flat();
      expect(found.reduce((sum, s) => sum + s.loss, 0)).toBeCloseTo(loss, 9);
      for (const [i, { gradient }] of sequences.entries()) {
        for (const [t, expected] of gradient.entries()) expect(found[i]!.gradient[t]).toBeCloseTo(expected, 9);
      }
      const tokens = denominators(sequences, 1).tokens;
      if ("kl" in metrics) expect(found.reduce((sum, s) => sum + s.kl, 0) / tokens).toBeCloseTo(metrics.kl!, 9);
      const counted = { "clip_ratio/low_mean": "clippedLow", "clip_ratio/high_mean": "clippedHigh" } as const;
      for (const [name, key] of Object.entries(counted)) {
        if (!(name in metrics)) continue;
        const ratios = options.importance_sampling_level === "sequence" ? sequences.length : tokens;
        expect(found.reduce((sum, s) => sum + s[key], 0) / ratios).toBeCloseTo(metrics[name]!, 9);
      }
    },
  );
});

describe("advantages against TRL", () => {
  it.each(golden.advantages)("$options", ({ options, group, weights, scores, advantages }) => {
    const found = advantagesOf(scores, weights, group, options).advantages;
    for (const [i, expected] of advantages.entries()) expect(found[i]).toBeCloseTo(expected, 9);
  });

  it("is zero where all rewards are equal, and says so", () => {
    const options = { scale_rewards: "group", multi_objective_aggregation: "sum_then_normalize" } as const;
    const { advantages, zeroStd } = advantagesOf([[1], [1], [0], [1]], [1], 2, options);
    expect(advantages.slice(0, 2)).toEqual([0, 0]);
    expect(zeroStd).toEqual([true, false]);
  });

  it.each([
    ["group", "sum_then_normalize"],
    ["batch", "sum_then_normalize"],
    ["none", "sum_then_normalize"],
    ["group", "normalize_then_sum"],
  ] as const)("is exactly zero there, also where the mean is rounded: %s, %s", (scale_rewards, aggregation) => {
    const options = { scale_rewards, multi_objective_aggregation: aggregation };
    expect(
      Array(8)
        .fill(0.2)
        .reduce((sum, value) => sum + value, 0) / 8,
    ).not.toBe(0.2);
    const scores = [
      ...Array(7).fill([0.2]),
      [null],
      ...(aggregation === "sum_then_normalize" ? [...Array(7).fill([0.2]), [1]] : []),
    ];
    const { advantages } = advantagesOf(scores, [1], 8, options);
    expect(advantages.slice(0, 8)).toEqual(Array(8).fill(0));
  });

  it("is exactly zero there beside groups that are normalised by themselves, whose mean over the batch is rounded", () => {
    const options = { scale_rewards: "group", multi_objective_aggregation: "normalize_then_sum" } as const;
    const others = Array.from({ length: 8 }, (_, i) => [Math.sin(i), Math.cos(3 * i)]);
    const { advantages } = advantagesOf([...Array(4).fill([1, 0.3]), ...others], [1, 0.2], 4, options);
    expect(advantages.slice(0, 4)).toEqual([0, 0, 0, 0]);
    expect(advantages.slice(4)).not.toContain(0);
  });
});

const logprob = fc.double({ min: -6, max: 0, noNaN: true });
const sequence = fc.integer({ min: 1, max: 5 }).chain((length) =>
  fc.record({
    logprobs: fc.array(logprob, { minLength: length, maxLength: length }),
    old: fc.array(logprob, { minLength: length, maxLength: length }),
    reference: fc.array(logprob, { minLength: length, maxLength: length }),
    advantage: fc.double({ min: -3, max: 3, noNaN: true }),
    masked: fc.boolean(),
  }),
);
const base = resolveConfig({ beta: 0.1, epsilon_high: 0.3, max_completion_length: 8 });

describe("gradient against finite differences", () => {
  // cispo's gradient is not that of its value: the ratio is held constant.
  it.each(["grpo", "bnpo", "dapo", "dr_grpo", "sapo", "luspo"] as const)("%s", (loss_type) => {
    fc.assert(
      fc.property(
        fc.array(sequence, { minLength: 1, maxLength: 4 }),
        fc.constantFrom("token" as const, "sequence" as const),
        (sequences, importance_sampling_level) => {
          const options = { ...base, loss_type, importance_sampling_level };
          const total = () => passLoss(sequences, denominators(sequences, 1), options).reduce((s, x) => s + x.loss, 0);
          const exact = passLoss(sequences, denominators(sequences, 1), options);
          const [first, h] = [sequences[0]!, 1e-6];
          const at = first.logprobs[0]!;
          const steps = [h, -h].map((step) => {
            first.logprobs[0] = at + step;
            return total();
          });
          first.logprobs[0] = at;
          const [above, here, below] = [steps[0]!, total(), steps[1]!];
          const [right, left] = [(above - here) / h, (here - below) / h];
          fc.pre(Math.abs(right - left) < 1e-3 * (1 + Math.abs(right))); // not at the kink of a clip
          const scale = 1 + Math.abs(here) + Math.abs(right);
          expect(Math.abs((right + left) / 2 - exact[0]!.gradient[0]!) / scale).toBeLessThan(1e-4);
        },
      ),
      { numRuns: 200, seed: 1 },
    );
  });
});

describe("passLoss", () => {
  const given = { logprobs: [0, -1, -1], old: [-1, -2, -1], advantage: 1, masked: false }; // ratios e, e, 1

  it("of cispo counts the tokens that would learn more without the limit", () => {
    const options = { ...base, loss_type: "cispo", epsilon_high: 1 } as const;
    for (const [advantage, expected] of [
      [1, 2],
      [0, 0],
      [-1, 0],
    ]) {
      const sequences = [{ ...given, reference: given.old, advantage: advantage! }];
      const [found] = passLoss(sequences, denominators(sequences, 1), options);
      expect(found).toMatchObject({ clippedLow: 0, clippedHigh: expected });
    }
  });

  it.each([
    [1, (4 / 0.5) * (1 / (1 + Math.exp(-0.5)))],
    [-1, -(4 / 3) * (1 / (1 + Math.exp(-3)))],
  ])("of sapo has the temperature of its option for an advantage of %i", (advantage, gain) => {
    const options = {
      ...base,
      beta: 0,
      loss_type: "sapo",
      sapo_temperature_pos: 0.5,
      sapo_temperature_neg: 3,
    } as const;
    const sequences = [{ logprobs: [Math.LN2], old: [0], advantage, masked: false }]; // a ratio of 2
    const [found] = passLoss(sequences, denominators(sequences, 1), options);
    expect(found!.loss).toBeCloseTo(-gain, 12);
  });

  it("is clipped at the epsilon of its option, below and above", () => {
    const options = { ...base, beta: 0, loss_type: "dapo", epsilon: 0.4, epsilon_high: 0.6 } as const;
    const losses = [0.5, 0.65, 1.5, 1.65].map((ratio) => {
      const sequences = [{ logprobs: [Math.log(ratio)], old: [0], advantage: ratio < 1 ? -1 : 1, masked: false }];
      return passLoss(sequences, denominators(sequences, 1), options)[0]!.loss;
    });
    expect(losses).toEqual([0.6, 0.65, -1.5, -1.6].map((loss) => expect.closeTo(loss, 12)));
  });

  it.each(["bnpo", "dapo"] as const)("of %s is that of the token where there is one, 0 where there is none", (type) => {
    const options = { ...base, loss_type: type, beta: 0 };
    const loss = (masked: boolean) => {
      const sequences = [{ logprobs: [-1], old: [-1], advantage: 1, masked }];
      return passLoss(sequences, denominators(sequences, 1), options)[0]!.loss;
    };
    expect([loss(false), loss(true)]).toEqual([-1, 0]);
  });
});

describe("standardDeviation", () => {
  it("is there for two or more numbers", () => {
    expect(standardDeviation([1, Number.NaN, 3])).toBe(Math.SQRT2);
    for (const few of [[], [1], [Number.NaN, 1]]) expect(standardDeviation(few)).toBeNaN();
  });
});

describe("passes", () => {
  it.each(["grpo", "dapo", "dr_grpo", "cispo", "sapo", "luspo"] as const)("%s: any cut gives the same", (loss_type) => {
    fc.assert(
      fc.property(fc.array(sequence, { minLength: 2, maxLength: 6 }), fc.nat(), (sequences, where) => {
        const cut = 1 + (where % (sequences.length - 1));
        const options = { ...base, loss_type };
        const whole = passLoss(sequences, denominators(sequences, 1), options);
        const batch = denominators(sequences, 2);
        const parts = [sequences.slice(0, cut), sequences.slice(cut)].flatMap((s) => passLoss(s, batch, options));
        expect(parts).toEqual(whole);
      }),
    );
  });
});
