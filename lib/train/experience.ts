import type { TrainConfig } from "../config/schema.js";
import { type Advantages, advantagesOf } from "./advantage.js";
import type { Clock } from "./clock.js";
import type { Sequence } from "./pass.js";
import { type Group, rollout, type Sampler } from "./rollout.js";
import type { TrainState } from "./state.js";
import type { StepContext } from "./step.js";

/** What a step learns from: completions of its problems, and how much better than its group each of them was. */
export interface Experience {
  readonly groups: Group[];
  readonly advantages: Advantages;
  /** Every completion, group after group. */
  readonly sequences: Sequence[];
  /** Prompts and completions of the run, this step's included. */
  readonly tokens: number;
}

/** That of the step after `state`, sampled from `samplers` (see `rollout`); its time counts as sampling. */
export async function gather(
  context: StepContext,
  state: TrainState,
  samplers: readonly Sampler[],
  clock: Clock,
  signal?: AbortSignal,
): Promise<Experience> {
  const { config, rewards } = context;
  const examples = context.examples.ofStep(state.step, config.num_prompts);
  const groups = await clock.time("sampling", () => rollout(context, examples, state.step + 1, samplers, signal));
  const scores = groups.flatMap(({ completions }) => completions.map((completion) => completion.rewards));
  const weights = config.reward_weights ?? rewards.map(() => 1);
  const advantages = advantagesOf(scores, weights, config.num_generations, config);
  const sequences = toSequences(groups, advantages.advantages, config);
  const lengths = sequences.map(({ group, completion }) => group.prompt.length + completion.tokens.length);
  return { groups, advantages, sequences, tokens: lengths.reduce((sum, length) => sum + length, state.tokens) };
}

function toSequences(groups: Group[], advantages: number[], config: TrainConfig): Sequence[] {
  return groups.flatMap((group, g) =>
    group.completions.map((completion, i): Sequence => {
      const advantage = advantages[g * config.num_generations + i]!;
      const masked = config.mask_truncated_completions && completion.truncated;
      return { group, completion, advantage, masked, learns: !masked && (advantage !== 0 || config.beta > 0) };
    }),
  );
}
