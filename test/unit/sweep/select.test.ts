import { expect, it } from "vitest";
import type { MemberResult } from "../../../lib/sweep/results-file.js";
import { bestOfEach } from "../../../lib/sweep/select.js";

function member(rate: number, seed: number, accuracy: number | null): MemberResult {
  const settings = { learning_rate: rate, u: 13 };
  const known = { method: "grpo", step: 9, parameters: 13, bytes: 26, base: 0.1 } as const;
  return { name: `${rate}-${seed}`, settings, seed, status: "finished", accuracy, ...known };
}

const bestRate = (members: readonly MemberResult[]) =>
  bestOfEach(
    members,
    members.map(() => "one"),
    ["learning_rate"],
  )[0]!.best?.values.learning_rate;

it("the best is the first of those with the best mean, and has all its seeds", () => {
  expect(bestRate([member(1, 1, 0.5), member(2, 1, 0.5), member(3, 1, 0.4)])).toBe(1);
  expect(bestRate([member(1, 1, 0.9), member(1, 2, null), member(2, 1, 0.2), member(2, 2, 0.3)])).toBe(2);
  expect(bestRate([member(1, 1, 0.9), member(1, 2, null)])).toBeUndefined();
});
