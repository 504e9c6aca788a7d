/** Of the values that are not NaN; NaN when there is none. */
export function mean(values: readonly number[]): number {
  const known = values.filter((value) => !Number.isNaN(value));
  return known.reduce((sum, value) => sum + value, 0) / known.length;
}

/** Unbiased (n - 1), of the values that are not NaN; NaN for fewer than two. */
export function standardDeviation(values: readonly number[]): number {
  const known = values.filter((value) => !Number.isNaN(value));
  const center = mean(known);
  if (known.length < 2) return Number.NaN;
  return Math.sqrt(known.reduce((sum, value) => sum + (value - center) ** 2, 0) / (known.length - 1));
}
