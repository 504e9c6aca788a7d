/**
 * How noisy a step's gradient is (McCandlish et al. 2018, "An Empirical Model of Large-Batch Training"), from the
 * gradients of its n problems. With g_i the n-fold share of problem i in d(loss)/dv and g their mean, the step's gradient:
 *   tr(Sigma) ~ sum |g_i - g|^2 / (n - 1)      |G|^2 ~ |g|^2 - tr(Sigma) / n      both unbiased
 *   noise scale = tr(Sigma) / |G|^2            problems a step at which noise and signal are even
 */
import type { Metrics } from "./reported.js";

/** `shares`: of each problem, d(loss)/dv of its completions. NaN with fewer than two; the scale also where |G|^2 <= 0. */
export function noiseScale(shares: readonly Float64Array[]): Metrics {
  const n = shares.length;
  const numbers = shares[0]?.length ?? 0;
  let [variance, square] = [0, 0];
  for (let i = 0; i < numbers; i++) {
    const mean = shares.reduce((sum, share) => sum + share[i]!, 0);
    square += mean * mean;
    for (const share of shares) variance += (n * share[i]! - mean) ** 2;
  }
  variance = n < 2 ? Number.NaN : variance / (n - 1);
  const signal = square - variance / n;
  return {
    "gradient/variance": variance,
    "gradient/squared_norm": signal,
    "gradient/noise_scale": signal > 0 ? variance / signal : Number.NaN,
  };
}
