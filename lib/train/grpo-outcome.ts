import { createHash } from "node:crypto";
import { evolutionStep } from "./evolution.js";
import { grpoStep } from "./grpo.js";
import { measuredMetrics } from "./metrics.js";
import type { Sequence } from "./pass.js";
import type { Completion } from "./rollout.js";
import type { StepOutcome } from "./run.js";
import type { TrainState } from "./state.js";
import type { StepContext, StepResult } from "./step.js";

/** A step of learning from rewards, by the estimator of the options, and what a run folder keeps of it. */
export async function grpoOutcome(
  context: StepContext,
  state: TrainState,
  signal?: AbortSignal,
  onResult: (result: StepResult) => void = () => {},
): Promise<StepOutcome> {
  const { policy, config } = context;
  const step = config.estimator === "evolution_strategies" ? evolutionStep : grpoStep;
  const result = await step(context, state, signal);
  onResult(result);
  const measured = measuredMetrics(result, policy.memory().peakRss);
  const { sequences, metrics } = result;
  return { state: result.state, metrics, measured, lines: sequences.map(readable) };
}

/** A line of completions/step-N.jsonl. */
function readable({ group, completion, advantage }: Sequence): object {
  return {
    id: group.example.id,
    question: group.example.question,
    expected: group.example.answer,
    completion: completion.text,
    tokens: completion.tokens.length,
    truncated: completion.truncated,
    digest: digestOf(completion),
    rewards: completion.rewards,
    advantage,
    ...completion.grade,
  };
}

/** 16 hex digits over token ids and log-probabilities, all bits of them. */
function digestOf({ tokens, logprobs }: Completion): string {
  const hash = createHash("sha256");
  for (const { buffer, byteOffset, byteLength } of [tokens, logprobs]) {
    hash.update(new Uint8Array(buffer, byteOffset, byteLength));
  }
  return hash.digest("hex").slice(0, 16);
}
