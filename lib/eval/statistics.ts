/** Means of values that belong to problems, and how far chance may have moved them. */
export interface Estimate {
  readonly mean: number;
  /** Standard error over the problems, from the unbiased variance; null with fewer than two. */
  readonly standardError: number | null;
}

export function estimate(values: readonly number[]): Estimate {
  const n = values.length;
  const mean = values.reduce((sum, value) => sum + value, 0) / n;
  if (n < 2) return { mean, standardError: null };
  const variance = values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / (n - 1);
  return { mean, standardError: Math.sqrt(variance / n) };
}

export interface PairedDifference extends Estimate {
  readonly problems: number;
  /** Of 95 % by Student's t; null with fewer than two problems. */
  readonly interval: readonly [number, number] | null;
  /** Problems that `b` solves more often than `a`, and the other way round. */
  readonly better: number;
  readonly worse: number;
}

/**
 * b - a for the same problems. Most of the spread between problems is common to both and drops out: the interval is
 * narrower than two separate ones would suggest.
 */
export function pairedDifference(a: readonly number[], b: readonly number[]): PairedDifference {
  if (a.length !== b.length || a.length === 0) {
    throw new RangeError(`expected as many values for both, found ${a.length} and ${b.length}`);
  }
  const differences = b.map((value, i) => value - a[i]!);
  const { mean, standardError } = estimate(differences);
  const half = standardError === null ? null : studentQuantile(a.length - 1) * standardError;
  return {
    problems: a.length,
    mean,
    standardError,
    interval: half === null ? null : [mean - half, mean + half],
    better: differences.filter((difference) => difference > 0).length,
    worse: differences.filter((difference) => difference < 0).length,
  };
}

/** The 97.5 % quantile of Student's t: exact for 1 and 2 degrees of freedom, else Cornish and Fisher's expansion. */
export function studentQuantile(freedom: number): number {
  if (freedom === 1) return 12.706204736174705;
  if (freedom === 2) return 4.302652729749464;
  const z = 1.959963984540054;
  const terms = [
    (z ** 3 + z) / 4,
    (5 * z ** 5 + 16 * z ** 3 + 3 * z) / 96,
    (3 * z ** 7 + 19 * z ** 5 + 17 * z ** 3 - 15 * z) / 384,
    (79 * z ** 9 + 776 * z ** 7 + 1482 * z ** 5 - 1920 * z ** 3 - 945 * z) / 92160,
  ];
  return terms.reduce((sum, term, i) => sum + term / freedom ** (i + 1), z);
}
