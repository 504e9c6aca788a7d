/** One step's completions with their rewards. Rewards run while other completions are still being sampled. */
import type { Example } from "../data/example.js";
import { toPrompt } from "../data/prompt.js";
import { TinyLoraError } from "../error.js";
import { inTurn } from "../in-turn.js";
import { randomInteger } from "../philox.js";
import { type Grade, grade } from "../reward/answer.js";
import { score } from "../reward/score.js";
import { encodePrompt, type Sampled, sampleAll, samplingOf } from "../sample/sample.js";
import type { StepContext } from "./step.js";

export interface Completion {
  readonly tokens: Int32Array;
  /** As the sampler saw them, at the temperature of sampling. */
  readonly logprobs: Float32Array;
  /** [tokens], in nats: of the distribution that each was drawn from, at that temperature. */
  readonly entropies: Float32Array;
  readonly truncated: boolean;
  readonly text: string;
  readonly rewards: readonly (number | null)[];
  readonly grade: Grade;
}

/** A problem and its num_generations completions. */
export interface Group {
  readonly example: Example;
  readonly prompt: Int32Array;
  readonly completions: Completion[];
}

/** What completions are sampled from: a slot, whose v must be of this version. */
export interface Sampler {
  readonly slot: number;
  readonly version: number;
}

/** `samplers`: one for all completions, or one for each. Every draw is fixed by (seed, step, place in the batch). */
export async function rollout(
  { policy, rewards, config, onProgress }: StepContext,
  examples: readonly Example[],
  step: number,
  samplers: readonly Sampler[],
  signal?: AbortSignal,
): Promise<Group[]> {
  const size = config.num_generations;
  const samplerOf = (sequence: number) => samplers[samplers.length === 1 ? 0 : sequence]!;
  const count = samplers.length === 1 ? size : 1; // completions of a request
  const toGroup = (example: Example): Group => {
    const prompt = encodePrompt(policy, toPrompt(example.question, config), example.id, config.max_completion_length);
    return { example, prompt, completions: [] };
  };
  const groups = await inTurn(examples, toGroup, {
    signal,
    onProgress: (tokenized, total) => onProgress({ phase: "tokenizing", done: tokenized, total }),
  });
  const sampling = {
    ...samplingOf(policy, config),
    seed: randomInteger(config.seed, "sampling", step),
    keepActivations: config.keep_activations,
    gradientCheckpointing: config.gradient_checkpointing,
  };
  const firsts = Array.from({ length: (groups.length * size) / count }, (_, request) => request * count);
  const requests = firsts.map((first) => ({
    ...sampling,
    prompt: groups[Math.floor(first / size)]!.prompt,
    slot: samplerOf(first).slot,
    numGenerations: count,
    firstSequence: first,
  }));
  let done = 0;
  const finish = async (sampled: Sampled, stopped: AbortSignal) => {
    const sequence = firsts[sampled.request]! + sampled.completion;
    const { example, completions } = groups[Math.floor(sequence / size)]!;
    const { version } = samplerOf(sequence);
    if (sampled.version !== version) {
      throw new TinyLoraError("ERR_STATE", `sampling: expected version ${version} of v, found ${sampled.version}`);
    }
    const { tokens, logprobs, entropies, truncated } = sampled;
    const text = policy.tokenizer.decode(tokens);
    const scores = await score(rewards, text, example, config.reward_timeout, stopped);
    const graded = grade(text, example.answer);
    completions[sequence % size] = { tokens, logprobs, entropies, truncated, text, rewards: scores, grade: graded };
    onProgress({ phase: "sampling", done: ++done, total: groups.length * size });
  };
  await sampleAll(policy, requests, finish, signal);
  return groups;
}
