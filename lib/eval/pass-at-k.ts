/**
 * The chance that at least one of k completions is right, estimated without bias from n of which c are (Chen et al.
 * 2021): 1 - C(n - c, k) / C(n, k).
 */
export function passAtK(n: number, c: number, k: number): number {
  if (k > n) throw new RangeError(`pass@${k}: expected at least ${k} completions, found ${n}`);
  let allWrong = 1;
  for (let i = 0; i < k; i++) allWrong *= Math.max(0, n - c - i) / (n - i);
  return 1 - allWrong;
}
