/** From rewards to advantages, as in TRL: how much better than its group a completion was. */
import type { TrainConfig } from "../config/schema.js";
import { mean, standardDeviation } from "../mean.js";

type AdvantageOptions = Pick<TrainConfig, "scale_rewards" | "multi_objective_aggregation">;

export interface Advantages {
  /** Weighted sum of the rewards of each completion; NaN where none applied. */
  readonly rewards: number[];
  /** 0 where no reward applied. */
  readonly advantages: number[];
  /** Of each group: whether all its rewards are equal, so that it teaches nothing. */
  readonly zeroStd: boolean[];
}

/**
 * @param scores one row a completion, group after group of `groupSize`; one column a reward; null: does not apply
 * @param weights one a reward
 */
export function advantagesOf(
  scores: readonly (readonly (number | null)[])[],
  weights: readonly number[],
  groupSize: number,
  options: AdvantageOptions,
): Advantages {
  const rewards = scores.map((row) => weightedSum(row, weights));
  const zeroStd = groupsOf(rewards, groupSize).map((group) => !(standardDeviation(group) > 1e-8));
  const raw =
    options.multi_objective_aggregation === "sum_then_normalize"
      ? normalise(rewards, groupSize, options.scale_rewards)
      : normaliseEach(scores, weights, groupSize);
  return { rewards, advantages: raw.map((value) => (Number.isNaN(value) ? 0 : value)), zeroStd };
}

function normalise(rewards: number[], groupSize: number, scale: AdvantageOptions["scale_rewards"]): number[] {
  const batchStd = standardDeviation(rewards);
  return groupsOf(rewards, groupSize).flatMap((group) => {
    if (allEqual(group)) return group.map((reward) => (Number.isNaN(reward) ? reward : 0));
    const center = mean(group);
    const std = scale === "batch" ? batchStd : standardDeviation(group);
    return group.map((reward) => (scale === "none" ? reward - center : (reward - center) / (std + 1e-4)));
  });
}

/** GDPO: every reward is normalised in its group, then they are added up and normalised over the batch. */
function normaliseEach(
  scores: readonly (readonly (number | null)[])[],
  weights: readonly number[],
  groupSize: number,
): number[] {
  const columns = weights.map((_, k) =>
    normalise(
      scores.map((row) => row[k] ?? Number.NaN),
      groupSize,
      "group",
    ),
  );
  const sums = scores.map((_, i) =>
    weightedSum(
      columns.map((column) => (Number.isNaN(column[i]!) ? null : column[i]!)),
      weights,
    ),
  );
  const [center, std] = [mean(sums), standardDeviation(sums)];
  // Every group's mean is 0, but for rounding: where its sums are equal, so is each of them.
  return groupsOf(sums, groupSize).flatMap((group) =>
    allEqual(group) ? group.map(() => 0) : group.map((sum) => (sum - center) / (std + 1e-4)),
  );
}

/** NaN when no reward applies. */
function weightedSum(row: readonly (number | null)[], weights: readonly number[]): number {
  if (row.every((value) => value === null)) return Number.NaN;
  return row.reduce<number>((sum, value, k) => sum + (value === null ? 0 : value * weights[k]!), 0);
}

function groupsOf(values: readonly number[], size: number): number[][] {
  return Array.from({ length: Math.ceil(values.length / size) }, (_, g) => values.slice(g * size, (g + 1) * size));
}

/** Of the values that are not NaN. Their mean can differ from them in the last bit, and what is left would be learned. */
function allEqual(values: readonly number[]): boolean {
  const known = values.filter((value) => !Number.isNaN(value));
  return known.every((value) => value === known[0]);
}
