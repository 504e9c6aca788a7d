/**
 * The natural gradient (Amari 1998) from the exact Fisher matrix of the n numbers of v, no part of it left out:
 *   F_t = sum_s g_s g_s^T / tokens                   g_s = d(log p of completion s)/dv, over all completions of the step
 *   F = decay F + (1 - decay) F_t                    divided by 1 - decay^t where it is used
 *   v -= rate (F + damping mean(diag F) I)^-1 d(loss)/dv
 * F_t is the mean of the scores' outer products, an unbiased estimate since the completions are the policy's own. It is
 * divided by tokens as loss_type dapo is: the rate then means the same for long completions and short ones, and 1 is the
 * whole step of E[A g] against E[g g^T]. The solution is Cholesky's (F = L L^T), in doubles, sums in the order of the indices.
 */
import { TinyLoraError } from "../error.js";

/** Numbers of v up to which n x n is small. */
export const MOST_NATURAL = 512;

/** sum_s g_s g_s^T / tokens, [n, n] */
export function fisherMatrix(scores: readonly Float64Array[], tokens: number): Float64Array {
  const n = scores[0]!.length;
  const fisher = new Float64Array(n * n);
  for (const score of scores) {
    for (let i = 0; i < n; i++) {
      const left = score[i]! / tokens;
      for (let j = 0; j <= i; j++) fisher[i * n + j]! += left * score[j]!;
    }
  }
  for (let i = 0; i < n; i++) for (let j = 0; j < i; j++) fisher[j * n + i] = fisher[i * n + j]!;
  return fisher;
}

/** (scale F + damping mean(diag(scale F)) I)^-1 g. A direction in which no completion moves gets no step. */
export function naturalDirection(
  fisher: Float64Array,
  scale: number,
  damping: number,
  gradient: Float64Array,
): Float64Array {
  const n = gradient.length;
  let trace = 0;
  for (let i = 0; i < n; i++) trace += scale * fisher[i * n + i]!;
  if (trace === 0) return new Float64Array(n);
  const matrix = fisher.map((value, at) => scale * value + (at % (n + 1) === 0 ? (damping * trace) / n : 0));
  return solveCholesky(matrix, gradient);
}

/** x with A x = b, A [n, n] symmetric and positive definite. ERR_NUMERIC where it is not. */
export function solveCholesky(a: Float64Array, b: Float64Array): Float64Array {
  const n = b.length;
  const l = new Float64Array(n * n);
  for (let i = 0; i < n; i++) {
    for (let j = 0; j <= i; j++) {
      let sum = a[i * n + j]!;
      for (let k = 0; k < j; k++) sum -= l[i * n + k]! * l[j * n + k]!;
      if (i > j) {
        l[i * n + j] = sum / l[j * n + j]!;
      } else if (sum > 0) {
        l[i * n + i] = Math.sqrt(sum);
      } else {
        throw new TinyLoraError(
          "ERR_NUMERIC",
          `natural: expected a Fisher matrix that is positive definite, found a pivot of ${sum} at ${i}: raise fisher_damping`,
        );
      }
    }
  }
  const x = Float64Array.from(b);
  for (let i = 0; i < n; i++) {
    for (let k = 0; k < i; k++) x[i]! -= l[i * n + k]! * x[k]!;
    x[i]! /= l[i * n + i]!;
  }
  for (let i = n - 1; i >= 0; i--) {
    for (let k = i + 1; k < n; k++) x[i]! -= l[k * n + i]! * x[k]!;
    x[i]! /= l[i * n + i]!;
  }
  return x;
}
