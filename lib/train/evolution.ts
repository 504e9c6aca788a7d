/**
 * One step of evolution strategies (Salimans et al. 2017) in place of GRPO's passes: every completion is sampled from a v
 * of its own, v + sigma e_s, in pairs of opposite e_s within a group, and its advantage says how good that v was.
 *   d(loss)/dv ~ -1 / (N sigma) sum_s A_s e_s        N completions, A_s the advantages of GRPO
 * which is what the optimiser then takes. Nothing is differentiated and no activation is kept.
 */
import { Adapter } from "../adapter/adapter.js";
import type { TrainConfig } from "../config/schema.js";
import { examplesOfStep } from "../data/order.js";
import { TinyLoraError } from "../error.js";
import { advantagesOf } from "./advantage.js";
import { Clock } from "./clock.js";
import { sumOf } from "./gradient-parts.js";
import { cosine, type StepContext, type StepResult, toSequences } from "./grpo.js";
import { rolloutMetrics } from "./metrics.js";
import { noiseScale } from "./noise-scale.js";
import type { Sequence } from "./pass.js";
import { type Perturbation, perturbation, setMembers } from "./perturbation.js";
import { rollout } from "./rollout.js";
import type { TrainState } from "./run.js";
import { learningRate } from "./schedule.js";

export async function evolutionStep(
  context: StepContext,
  state: TrainState,
  signal?: AbortSignal,
): Promise<StepResult> {
  const { policy, trainable, config } = context;
  const clock = new Clock();
  const step = state.step + 1;
  const places = examplesOfStep(state.step, config.num_prompts, context.examples.length, config.seed);
  const examples = places.map((place) => context.examples[place]!);
  const center = trainable.result(state.optimizer);
  if (!(center instanceof Adapter))
    throw new TinyLoraError("ERR_CONFIG", "estimator: expected an adapter that trains v");

  trainable.use(state.optimizer);
  const perturbed = perturbation(center.v.length, step, config);
  const samplers = setMembers(policy, center.v, perturbed);
  const groups = await clock.time("sampling", () => rollout(context, examples, step, samplers, signal));
  const scores = groups.flatMap(({ completions }) => completions.map((completion) => completion.rewards));
  const weights = config.reward_weights ?? context.rewards.map(() => 1);
  const advantages = advantagesOf(scores, weights, config.num_generations, config);
  const sequences = toSequences(groups, advantages.advantages, config);

  const shares = sharesOf(sequences, perturbed, config);
  const rate = learningRate(step, config);
  const gradient = sumOf(shares, center.v.length);
  const { state: optimizer, norm, gradient: used } = trainable.update(state.optimizer, rate, { gradient });
  const tokens =
    state.tokens +
    sequences.reduce((sum, { group, completion }) => sum + group.prompt.length + completion.tokens.length, 0);
  const metrics = {
    epoch: (step * config.num_prompts) / context.examples.length,
    learning_rate: rate,
    ...rolloutMetrics(
      sequences,
      advantages,
      context.rewards.map(({ name }) => name),
    ),
    grad_norm: norm,
    ...noiseScale(shares),
    grad_cosine: cosine(used!, state.lastGradient),
    v_norm: trainable.norm(optimizer),
    num_tokens: tokens,
  };
  return { state: { step, tokens, optimizer, lastGradient: used }, groups, sequences, metrics, clock };
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
