import fc from "fast-check";
import { describe, expect, it, vi } from "vitest";
import { breakdown } from "../../../lib/eval/breakdown.js";
import { majorityAtK, majorityIsRight } from "../../../lib/eval/majority.js";
import { estimate, pairedDifference, studentQuantile } from "../../../lib/eval/statistics.js";
import { sameAnswer } from "../../../lib/reward/answer.js";
import { linear } from "../../linear.js";

vi.mock("../../../lib/reward/answer.js", { spy: true });

describe("estimate", () => {
  it("is mean and standard error", () => {
    expect(estimate([1, 2, 3, 4])).toEqual({ mean: 2.5, standardError: expect.closeTo(0.6454972243679028, 12) });
    expect(estimate([0.5])).toEqual({ mean: 0.5, standardError: null });
  });

  it("has the quantiles of Student's t", () => {
    // R: qt(0.975, c(1, 2, 3, 4, 5, 10, 29, 100, 1e6))
    const known = {
      1: 12.7062,
      2: 4.3027,
      3: 3.1824,
      4: 2.7764,
      5: 2.5706,
      10: 2.2281,
      29: 2.0452,
      100: 1.984,
      1e6: 1.96,
    };
    for (const [freedom, quantile] of Object.entries(known)) {
      expect(Math.abs(studentQuantile(Number(freedom)) - quantile)).toBeLessThan(0.012);
    }
    expect(studentQuantile(1)).toBeCloseTo(12.706204736174705, 12);
    expect(studentQuantile(2)).toBeCloseTo(4.302652729749464, 12);
    expect(studentQuantile(10)).toBeCloseTo(2.2281, 3);
  });
});

describe("pairedDifference", () => {
  it("is that of the problems, one by one", () => {
    const result = pairedDifference([0, 0, 1, 1], [1, 0, 1, 0.5]);
    expect(result).toMatchObject({ problems: 4, mean: 0.125, better: 1, worse: 1 });
    expect(result.standardError).toBeCloseTo(estimate([1, 0, 0, -0.5]).standardError!, 12);
    expect(result.interval![0]).toBeCloseTo(0.125 - studentQuantile(3) * result.standardError!, 12);
    expect(() => pairedDifference([1], [1, 0])).toThrow(/found 1 and 2/);
  });

  it("turns its sign with the sides, does not see a common shift, and is nothing for the same values", () => {
    const shares = fc.array(
      fc.tuple(fc.double({ min: 0, max: 1, noNaN: true }), fc.double({ min: 0, max: 1, noNaN: true })),
      {
        minLength: 2,
        maxLength: 30,
      },
    );
    fc.assert(
      fc.property(shares, fc.double({ min: -1, max: 1, noNaN: true }), (pairs, shift) => {
        const [a, b] = [pairs.map(([x]) => x), pairs.map(([, y]) => y)];
        const [there, back] = [pairedDifference(a, b), pairedDifference(b, a)];
        expect(there.mean).toBeCloseTo(-back.mean, 10);
        expect([there.better, there.worse]).toEqual([back.worse, back.better]);
        expect(there.interval![0]).toBeCloseTo(-back.interval![1], 8);
        const moved = pairedDifference(
          a.map((x) => x + shift),
          b.map((x) => x + shift),
        );
        expect(moved.mean).toBeCloseTo(there.mean, 10);
        expect(pairedDifference(a, a)).toMatchObject({
          mean: 0,
          standardError: 0,
          interval: [0, 0],
          better: 0,
          worse: 0,
        });
      }),
    );
  });
});

describe("majority", () => {
  const vote = (answer: string | null, lenient = false) => ({ answer, lenient });
  it("counts answers that say the same together, and the first of equally frequent ones", () => {
    expect(
      majorityIsRight([vote("1/2", true), vote("7"), vote("7"), vote("0.5", true), vote("\\frac{1}{2}", true)]),
    ).toBe(true);
    expect(majorityIsRight([vote("7"), vote("8", true), vote("7")])).toBe(false);
    expect(majorityIsRight([vote("8", true), vote("7")])).toBe(true);
    expect(majorityIsRight([vote("7"), vote("8", true)])).toBe(false);
    expect(majorityIsRight([vote(null), vote(null), vote("8", true)])).toBe(true);
    expect(majorityIsRight([vote(null)])).toBe(false);
  });

  it("compares each answer once, however often it comes again", () => {
    const answers = Array.from({ length: 40 }, (_, i) => `\\frac{${i}}{${i + 41}} + x`);
    const votes = Array.from({ length: 20_000 }, (_, i) => vote(answers[i % 40]!, i % 40 === 7));
    vi.mocked(sameAnswer).mockClear();
    expect(majorityIsRight([...votes, vote(answers[7]!, true)])).toBe(true);
    expect(sameAnswer).toHaveBeenCalledTimes((40 * 39) / 2); // with those before it
  });

  it("is the mean over groups of k", () => {
    const votes = [vote("8", true), vote("7"), vote("8", true), vote("8", true), vote("7")];
    expect(majorityAtK(votes, 1)).toBeCloseTo(3 / 5, 12);
    expect(majorityAtK(votes, 2)).toBe(1);
    expect(majorityAtK(votes, 5)).toBe(1);
    expect(() => majorityAtK(votes, 6)).toThrow(/at least 6/);
  });

  it("of one is accuracy, and of all does not depend on the order but for ties", () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 0, max: 3 }), { minLength: 1, maxLength: 12 }), (answers) => {
        const votes = answers.map((answer) => vote(String(answer), answer === 0));
        expect(majorityAtK(votes, 1)).toBeCloseTo(answers.filter((answer) => answer === 0).length / answers.length, 12);
        const counts = [0, 1, 2, 3].map((answer) => answers.filter((other) => other === answer).length);
        const most = Math.max(...counts);
        if (counts.filter((count) => count === most).length === 1) {
          expect(majorityIsRight(votes)).toBe(counts[0] === most);
          expect(majorityIsRight([...votes].reverse())).toBe(counts[0] === most);
        }
      }),
    );
  });
});

describe("breakdown", () => {
  const solved = (row: Record<string, unknown>, lenient: number) => ({ row, lenient, strict: 0 });
  it("makes a table of levels and of subjects, in the order of numbers", () => {
    const rows = [
      solved({ level: 10, type: "Algebra" }, 1),
      solved({ level: 9, type: "Geometry" }, 0),
      solved({ level: 10, type: "Algebra" }, 0.5),
      solved({ type: "Algebra" }, 0),
    ];
    const { level, subject } = breakdown(rows);
    expect(level!.map(({ value, problems }) => [value, problems])).toEqual([
      ["(none)", 1],
      ["9", 1],
      ["10", 2],
    ]);
    expect(level![2]).toMatchObject({ lenient: 0.75, strict: 0, standardError: expect.closeTo(0.25, 12) });
    expect(subject!.map(({ value, problems }) => [value, problems])).toEqual([
      ["Algebra", 3],
      ["Geometry", 1],
    ]);
  });

  it("makes tables of millions of problems", () => {
    const many = Array.from({ length: 2_000_000 }, (_, i) => solved({ level: i % 2 }, 0));
    expect(linear(() => breakdown(many)).level!.map(({ problems }) => problems)).toEqual([1_000_000, 1_000_000]);
  });

  it("makes none where rows say nothing, all the same, or each something else", () => {
    expect(breakdown([solved({}, 1), solved({ level: null }, 1)])).toEqual({});
    expect(breakdown([solved({ level: 1 }, 1), solved({ level: 1 }, 1)])).toEqual({});
    expect(breakdown(Array.from({ length: 50 }, (_, i) => solved({ type: `t${i}` }, 1)))).toEqual({});
  });
});
