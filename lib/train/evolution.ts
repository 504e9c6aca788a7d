/**
 * One step of evolution strategies (Salimans et al. 2017) in place of GRPO's passes: every completion is sampled from a v
 * of its own, v + sigma e_s, in pairs of opposite e_s within a group, and its advantage says how good that v was.
 *   d(loss)/dv ~ -1 / (N sigma) sum_s A_s e_s        N completions, A_s the advantages of GRPO
 * which is what the optimiser then takes. Nothing is differentiated and no activation is kept.
 */
import { Adapter } from "../adapter/adapter.js";
import type { TrainConfig } from "../config/schema.js";
import { TinyLoraError } from "../error.js";
import { Clock } from "./clock.js";
import { gather } from "./experience.js";
import { sumOf } from "./gradient-parts.js";
import { rolloutMetrics } from "./metrics.js";
import { noiseScale } from "./noise-scale.js";
import { cosine } from "./norm.js";
import type { Sequence } from "./pass.js";
import { type Perturbation, perturbation, setMembers } from "./perturbation.js";
import { learningRate } from "./schedule.js";
import type { TrainState } from "./state.js";
import type { StepContext, StepResult } from "./step.js";

export async function evolutionStep(
  context: StepContext,
  state: TrainState,
  signal?: AbortSignal,
): Promise<StepResult> {
  const { policy, trainable, config } = context;
  const clock = new Clock();
  const step = state.step + 1;
  const center = trainable.result(state.optimizer);
  if (!(center instanceof Adapter))
    throw new TinyLoraError("ERR_CONFIG", "estimator: expected an adapter that trains v");

  const perturbed = perturbation(center.v.length, step, config);
  const samplers = setMembers(policy, center.v, perturbed);
  const experience = await gather(context, state, samplers, clock, signal);
  const { sequences, tokens } = experience;

  const shares = sharesOf(sequences, perturbed, config);
  const rate = learningRate(step, config);
  const gradient = sumOf(shares, center.v.length);
  const { state: optimizer, norm, gradient: used } = trainable.update(state.optimizer, rate, { gradient });
  const metrics = {
    epoch: (step * config.num_prompts) / context.examples.length,
    learning_rate: rate,
    ...rolloutMetrics(experience, context.rewards),
    grad_norm: norm,
    ...noiseScale(shares),
    grad_cosine: cosine(used!, state.lastGradient),
    v_norm: trainable.norm(optimizer),
    num_tokens: tokens,
  };
  return { state: { step, tokens, optimizer, lastGradient: used }, sequences, metrics, clock, rows: 0 };
}

/** Of each problem, its completions' part in the estimate. Masked ones count in N alone. */
function sharesOf(
  sequences: readonly Sequence[],
  { directions, sigma }: Perturbation,
  { num_generations: size }: TrainConfig,
): Float64Array[] {
  const shares = Array.from({ length: sequences.length / size }, () => new Float64Array(directions[0]!.length));
  for (const [s, { advantage, masked }] of sequences.entries()) {
    if (masked) continue;
    const factor = -advantage / (sequences.length * sigma);
    const share = shares[Math.floor(s / size)]!;
    for (let i = 0; i < share.length; i++) share[i]! += factor * directions[s]![i]!;
  }
  return shares;
}
