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
