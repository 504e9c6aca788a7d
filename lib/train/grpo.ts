/**
 * One step of GRPO (Shao et al. 2024), as TRL does it, over any trainable part of a policy.
 *
 * Left out, and why: a second set of base weights (v = 0 is the reference model), a pass for the old log-probabilities
 * (the sampler's own are those of the training pass bit for bit), padding (sequences are packed), passes in which no
 * completion can change it (advantage 0, no KL): what the sampler saw of them is what a pass would tell.
 */
import type { TrainConfig } from "../config/schema.js";
import type { Policy } from "../policy.js";
import { Clock } from "./clock.js";
import { gather } from "./experience.js";
import { GradientParts } from "./gradient-parts.js";
import { type Denominators, passLoss } from "./loss.js";
import { PassStatistics, rolloutMetrics } from "./metrics.js";
import { noiseScale } from "./noise-scale.js";
import { cosine } from "./norm.js";
import { type Pass, packPasses, type Sequence, valuesOf } from "./pass.js";
import type { Metrics } from "./reported.js";
import { learningRate } from "./schedule.js";
import type { TrainState } from "./state.js";
import type { StepContext, StepResult } from "./step.js";
import { checkFinite, type Trainable, type Update } from "./trainable.js";

export async function grpoStep(context: StepContext, state: TrainState, signal?: AbortSignal): Promise<StepResult> {
  const { policy, trainable, config } = context;
  const clock = new Clock();
  const step = state.step + 1;
  const version = trainable.use(state.optimizer);
  const samplers = [{ slot: trainable.slot, version }];
  const experience = await gather(context, state, samplers, clock, signal);
  const { groups, sequences, tokens } = experience;
  const passes = plan(sequences, config, trainable);
  const reference = config.beta > 0 ? await clock.time("reference", () => scoreBase(policy, passes, signal)) : null;

  const rate = learningRate(step, config);
  const counted = sequences.filter(({ masked }) => !masked);
  const batch: Denominators = {
    sequences: sequences.length,
    tokens: counted.reduce((sum, { completion }) => sum + completion.tokens.length, 0),
    passes: passes.length,
  };
  const statistics = new PassStatistics(batch, config.importance_sampling_level);
  let optimizer = state.optimizer;
  let last: Update | undefined;
  let noise: Metrics = {};
  let rows = 0;
  let kept: number | undefined;
  trainable.hold(state.optimizer);
  for (let iteration = 0; iteration < config.num_iterations; iteration++) {
    if (iteration > 0) trainable.use(optimizer);
    const told = iteration === 0 ? trainable.parts : "none"; // the noise is that of the policy that sampled
    const parts = new GradientParts(told, trainable.parameters, groups);
    const made = await clock.time("training", () =>
      addGradients(context, passes, reference, batch, statistics, parts, signal),
    );
    rows += made.rows;
    if (config.keep_activations && made.rows > 0) kept ??= made.sampled / made.rows;
    if (told !== "none") noise = noiseScale(parts.shares());
    last = trainable.update(optimizer, rate, parts.estimate(sequences));
    optimizer = last.state;
  }

  const metrics: Metrics = {
    epoch: (step * config.num_prompts) / context.examples.length,
    learning_rate: rate,
    ...rolloutMetrics(experience, context.rewards),
    ...statistics.metrics(),
    grad_norm: last!.norm,
    ...noise,
    ...(last!.gradient && {
      grad_cosine: cosine(last!.gradient, state.lastGradient),
      v_norm: trainable.norm(optimizer),
    }),
    num_tokens: tokens,
  };
  return { state: { step, tokens, optimizer, lastGradient: last!.gradient }, sequences, metrics, clock, rows, kept };
}

/** Those that learn first and by themselves; bnpo's weights depend on the pass, so it takes them as they come. */
function plan(sequences: Sequence[], config: TrainConfig, { slot, parts: told }: Trainable): Pass[] {
  const { token_budget: tokenBudget, temperature } = config;
  const packing = { tokenBudget, temperature, slot, ownPrompts: told === "sequence" };
  const parts =
    config.loss_type === "bnpo"
      ? [sequences]
      : [sequences.filter((sequence) => sequence.learns), sequences.filter((sequence) => !sequence.learns)];
  return parts.flatMap((part) => packPasses(part, packing));
}

/** Log-probabilities of every pass under the base model. */
async function scoreBase(policy: Policy, passes: Pass[], signal?: AbortSignal): Promise<Map<Pass, Float32Array>> {
  const result = new Map<Pass, Float32Array>();
  for (const pass of passes) {
    const slots = pass.batch.slots.map(() => -1);
    result.set(pass, (await policy.forward({ ...pass.batch, slots, keep: false }, signal)).logprobs);
  }
  return result;
}

/**
 * Adds d(loss) of the passes, in their order, to the policy's gradients, which are zero before. Gives the rows of those that
 * were made, and how many of them the sampler had computed.
 */
async function addGradients(
  { policy, config, onProgress }: StepContext,
  passes: Pass[],
  reference: Map<Pass, Float32Array> | null,
  batch: Denominators,
  statistics: PassStatistics,
  parts: GradientParts,
  signal: AbortSignal | undefined,
): Promise<{ rows: number; sampled: number }> {
  const { gradient_checkpointing: gradientCheckpointing } = config;
  let rows = 0;
  let sampled = 0;
  policy.zeroGradients();
  for (const [index, pass] of passes.entries()) {
    onProgress({ phase: "training", done: index, total: passes.length });
    const made =
      parts.wants(pass) && (await policy.forward({ ...pass.batch, keep: true, gradientCheckpointing }, signal));
    const seen = pass.sequences.map(({ completion }, i) => ({
      logprobs: made ? valuesOf(pass, i, made.logprobs) : completion.logprobs,
      entropies: made ? valuesOf(pass, i, made.entropies) : completion.entropies,
    }));
    const losses = passLoss(
      pass.sequences.map(({ completion, advantage, masked }, i) => ({
        logprobs: seen[i]!.logprobs,
        old: completion.logprobs,
        reference: reference ? valuesOf(pass, i, reference.get(pass)!) : undefined,
        advantage,
        masked,
      })),
      batch,
      config,
    );
    for (const [i, sequence] of pass.sequences.entries()) {
      checkFinite([losses[i]!.loss], `the loss of ${sequence.group.example.id}`);
      statistics.add(sequence, losses[i]!, seen[i]!.logprobs, seen[i]!.entropies);
    }
    if (!made) continue;
    await parts.backward(policy, pass, losses, signal);
    rows += pass.rows;
    if (made.sampled) sampled += pass.rows;
  }
  statistics.endIteration();
  return { rows, sampled };
}
