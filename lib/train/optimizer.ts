/**
 * AdamW, SGD and the natural gradient over the few numbers of v. The master is fp32 and is what the updates add up in;
 * arithmetic is in doubles, moments are kept as doubles. What the model uses is the master rounded to the adapter's own
 * type.
 */
import { DEFAULT_FISHER_DAMPING, DEFAULT_FISHER_DECAY, type TrainConfig } from "../config/schema.js";
import { TinyLoraError } from "../error.js";
import { naturalDirection } from "./natural.js";
import { norm } from "./norm.js";

export type OptimizerOptions = Pick<
  TrainConfig,
  | "optim"
  | "momentum"
  | "adam_beta1"
  | "adam_beta2"
  | "adam_epsilon"
  | "fisher_damping"
  | "fisher_decay"
  | "weight_decay"
  | "max_grad_norm"
>;

/** All that an optimiser remembers. */
export interface OptimizerState {
  /** Updates made. */
  readonly updates: number;
  readonly master: Float32Array;
  /** adamw: first and second moment. sgd: the momentum's buffer. natural: the running mean of Fisher matrices, [n, n]. */
  readonly moments: readonly Float64Array[];
}

export function initialState(v: Float32Array, options: OptimizerOptions): OptimizerState {
  const count = options.optim === "adamw" ? 2 : 1;
  const size = options.optim === "natural" ? v.length ** 2 : v.length;
  const moments = Array.from({ length: count }, () => new Float64Array(size));
  return { updates: 0, master: Float32Array.from(v), moments };
}

/** ERR_RUN where a kept state is that of other options: they were changed since. */
export function checkState({ master, moments }: OptimizerState, options: OptimizerOptions): void {
  const sizes = (of: readonly Float64Array[]) => of.map(({ length }) => length).join(" and ");
  const [expected, found] = [sizes(initialState(master, options).moments), sizes(moments)];
  if (expected === found) return;
  throw new TinyLoraError(
    "ERR_RUN",
    `optim: expected the moments of ${options.optim} (${expected} numbers), found those of another (${found})`,
  );
}

/**
 * The state after one update. The old one is left as it was, so that a step can be given up. `fisher`: the step's own,
 * [n, n], for natural.
 */
export function update(
  state: OptimizerState,
  gradient: Float64Array,
  learningRate: number,
  options: OptimizerOptions,
  fisher?: Float64Array,
): OptimizerState {
  if (gradient.length !== state.master.length) {
    throw new TinyLoraError(
      "ERR_ARGUMENT",
      `gradient: expected ${state.master.length} numbers, found ${gradient.length}`,
    );
  }
  const { direction, moments } = RULES[options.optim](state, gradient, options, fisher);
  const keep = 1 - learningRate * options.weight_decay;
  const master = state.master.map((value, i) => value * keep - learningRate * direction[i]!);
  return { updates: state.updates + 1, master, moments };
}

interface Rule {
  readonly direction: Float64Array;
  readonly moments: readonly Float64Array[];
}

type RuleOf = (state: OptimizerState, gradient: Float64Array, options: OptimizerOptions, fisher?: Float64Array) => Rule;
const RULES: Record<OptimizerOptions["optim"], RuleOf> = { adamw, sgd, natural };

function adamw({ updates, moments }: OptimizerState, gradient: Float64Array, options: OptimizerOptions): Rule {
  const { adam_beta1: beta1, adam_beta2: beta2, adam_epsilon: epsilon } = options;
  const first = gradient.map((g, i) => beta1 * moments[0]![i]! + (1 - beta1) * g);
  const second = gradient.map((g, i) => beta2 * moments[1]![i]! + (1 - beta2) * g * g);
  const [scale1, scale2] = [1 - beta1 ** (updates + 1), 1 - beta2 ** (updates + 1)];
  const direction = first.map((m, i) => m / scale1 / (Math.sqrt(second[i]! / scale2) + epsilon));
  return { direction, moments: [first, second] };
}

function sgd({ moments }: OptimizerState, gradient: Float64Array, options: OptimizerOptions): Rule {
  const buffer = gradient.map((g, i) => options.momentum * moments[0]![i]! + g);
  return { direction: buffer, moments: [buffer] };
}

/** The step is cut to max_grad_norm here: the gradient is measured by the Fisher matrix. */
function natural(
  { updates, moments }: OptimizerState,
  gradient: Float64Array,
  options: OptimizerOptions,
  fisher?: Float64Array,
): Rule {
  if (!fisher) throw new TinyLoraError("ERR_ARGUMENT", "natural: expected a Fisher matrix");
  const decay = options.fisher_decay ?? DEFAULT_FISHER_DECAY;
  const mean = moments[0]!.map((old, at) => decay * old + (1 - decay) * fisher[at]!);
  const scale = 1 / (1 - decay ** (updates + 1));
  const whole = naturalDirection(mean, scale, options.fisher_damping ?? DEFAULT_FISHER_DAMPING, gradient);
  const norm = Math.sqrt(gradient.reduce((sum, g, i) => sum + g * whole[i]!, 0));
  const cut = options.max_grad_norm > 0 && norm > options.max_grad_norm ? options.max_grad_norm / norm : 1;
  return { direction: whole.map((value) => value * cut), moments: [mean] };
}

/** The gradient scaled down to `maxNorm` where it is longer; 0: never. */
export function clipNorm(gradient: Float64Array, maxNorm: number): { gradient: Float64Array; norm: number } {
  const length = norm(gradient);
  if (maxNorm === 0 || length <= maxNorm) return { gradient, norm: length };
  return { gradient: gradient.map((g) => (g * maxNorm) / length), norm: length };
}
