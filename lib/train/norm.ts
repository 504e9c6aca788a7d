/** Euclidean length, with the bits of Math.hypot, which takes no more numbers than the stack holds. */
export function norm(values: Float32Array | Float64Array): number {
  let largest = 0;
  for (const value of values) largest = Math.max(largest, Math.abs(value));
  if (largest === 0 || !Number.isFinite(largest)) return largest;
  let [sum, lost] = [0, 0]; // Kahan's sum of squares
  for (const value of values) {
    const share = value / largest;
    const term = share * share - lost;
    const next = sum + term;
    lost = next - sum - term;
    sum = next;
  }
  return Math.sqrt(sum) * largest;
}

/** Of the angle between two gradients; NaN when one is missing or zero. */
export function cosine(a: Float64Array, b: Float64Array | null): number {
  if (b === null || b.length !== a.length) return Number.NaN;
  const dot = a.reduce((sum, value, i) => sum + value * b[i]!, 0);
  return dot / (norm(a) * norm(b));
}
