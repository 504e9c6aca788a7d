/**
 * One step of supervised fine-tuning: the mean of -log p over the tokens of the batch's answers, the one that ends each
 * of them included. Prompts are read, not learned (TRL's completion_only_loss).
 *
 * Examples go through the model packed by token budget, without padding, in the order of the data.
 */
import type { TrainConfig } from "../config/schema.js";
import type { Example } from "../data/example.js";
import { type ProblemPrompt, toPrompt } from "../data/prompt.js";
import { solutionOf } from "../data/solution.js";
import { TinyLoraError } from "../error.js";
import { inTurn } from "../in-turn.js";
import type { ForwardBatch } from "../native/addon.js";
import { pack } from "../pack.js";
import type { Policy, PromptReader } from "../policy.js";
import { encodePrompt } from "../sample/sample.js";
import { Clock } from "./clock.js";
import type { StepOutcome } from "./run.js";
import { learningRate } from "./schedule.js";
import type { TrainState } from "./state.js";
import type { StepContext } from "./step.js";
import { checkFinite } from "./trainable.js";

type SftContext = Omit<StepContext, "rewards">;

/** An example as the model reads it. */
interface Lesson {
  readonly tokens: readonly number[];
  /** Of the prompt: what follows is learned. */
  readonly prompt: number;
}

export async function sftStep(context: SftContext, state: TrainState, signal?: AbortSignal): Promise<StepOutcome> {
  const { policy, trainable, config, examples, onProgress } = context;
  const { gradient_checkpointing: gradientCheckpointing } = config;
  const clock = new Clock();
  const step = state.step + 1;
  const lessons = await lessonsOf(context, examples.ofStep(state.step, config.num_prompts), signal);
  const learned = lessons.reduce((sum, { tokens, prompt }) => sum + tokens.length - prompt, 0);

  trainable.use(state.optimizer);
  trainable.hold(state.optimizer);
  policy.zeroGradients();
  const passes = pack(lessons, ({ tokens }) => tokens.length, config.token_budget);
  let [loss, entropy] = [0, 0];
  await clock.time("training", async () => {
    for (const [index, pass] of passes.entries()) {
      onProgress({ phase: "training", done: index, total: passes.length });
      const batch = { ...toBatch(pass, trainable.slot), keep: true, gradientCheckpointing };
      const { logprobs, entropies } = await policy.forward(batch, signal);
      const dLogprobs = new Float32Array(logprobs.length);
      let start = 0;
      for (const { tokens, prompt } of pass) {
        for (let i = start + prompt; i < start + tokens.length; i++) {
          loss -= logprobs[i]! / learned;
          entropy += entropies[i]! / learned;
          dLogprobs[i] = -1 / learned;
        }
        start += tokens.length;
      }
      await policy.backward(dLogprobs, signal);
    }
  });
  checkFinite([loss], "the loss");

  const rate = learningRate(step, config);
  const { state: optimizer, norm, gradient } = trainable.update(state.optimizer, rate);
  const rows = lessons.reduce((sum, { tokens }) => sum + tokens.length, 0);
  const tokens = state.tokens + rows;
  return {
    state: { step, tokens, optimizer, lastGradient: gradient },
    metrics: {
      epoch: (step * config.num_prompts) / examples.length,
      learning_rate: rate,
      loss,
      entropy,
      grad_norm: norm,
      num_tokens: tokens,
    },
    measured: {
      step_time: clock.total,
      "tokens_per_second/training": rows / clock.seconds.training!,
      "memory/peak_rss": policy.memory().peakRss,
    },
    lines: [],
  };
}

/** One that comes up more than once is tokenized once. */
async function lessonsOf(
  { policy, config, onProgress }: SftContext,
  examples: readonly Example[],
  signal?: AbortSignal,
): Promise<Lesson[]> {
  const different = [...new Set(examples)];
  const lessons = await inTurn(different, (example) => toLesson(policy, example, config), {
    signal,
    onProgress: (done, total) => onProgress({ phase: "tokenizing", done, total }),
  });
  const of = new Map(different.map((example, i) => [example, lessons[i]!]));
  return examples.map((example) => of.get(example)!);
}

/** ERR_DATA where there is nothing to learn, or more than fits in the model. */
export function toLesson(policy: PromptReader, example: Example, config: TrainConfig): Lesson {
  const solution = solutionOf(example, config.answer_column);
  if (solution === "") throw new TinyLoraError("ERR_DATA", `${example.id}: expected an answer to learn, found none`);
  const question = toPrompt(example.question, config);
  const prompt = encodePrompt(policy, question, example.id, 1);
  const answer = answerTokens(policy.tokenizer, question, prompt, solution);
  const length = prompt.length + answer.length;
  const { context } = policy.model.config;
  if (length > context) {
    throw new TinyLoraError(
      "ERR_DATA",
      `${example.id}: expected at most ${context} tokens (the model's context), found ${length}`,
    );
  }
  return { tokens: [...prompt, ...answer], prompt: prompt.length };
}

/**
 * The solution as it is tokenized behind its prompt, and what ends it: in a chat the token with which the template ends a
 * turn, else the model's end. Where the template writes another prompt before an answer, the solution is tokenized alone.
 */
function answerTokens(
  tokenizer: Policy["tokenizer"],
  question: ProblemPrompt,
  prompt: Int32Array,
  solution: string,
): number[] {
  const chat = typeof question !== "string";
  const whole = Array.from(
    chat
      ? tokenizer.encodeChat([...question, { role: "assistant", content: solution }], { addGenerationPrompt: false })
      : tokenizer.encode(`${question} ${solution}`),
  );
  const stops = Array.from(tokenizer.stopTokens);
  const turn = chat ? whole.findLastIndex((token) => stops.includes(token)) : -1;
  const continues = prompt.every((token, i) => whole[i] === token);
  if (continues && turn >= prompt.length) return whole.slice(prompt.length, turn + 1);
  const words = continues
    ? whole.slice(prompt.length)
    : tokenizer.encode(chat ? solution : ` ${solution}`, { addSpecialTokens: false });
  const end = turn < 0 ? (tokenizer.eos ?? stops[0]) : whole[turn];
  return end === undefined ? Array.from(words) : [...Array.from(words), end];
}

/** Prompt and answer are two sequences, so that only the answer's tokens go through the head. */
function toBatch(pass: readonly Lesson[], slot: number): Omit<ForwardBatch, "keep"> {
  const starts = [0];
  for (const { tokens, prompt } of pass) starts.push(starts.at(-1)! + prompt, starts.at(-1)! + tokens.length);
  const count = 2 * pass.length;
  return {
    tokens: Int32Array.from(pass.flatMap(({ tokens }) => tokens)),
    starts: Int32Array.from(starts),
    parents: Int32Array.from({ length: count }, (_, i) => (i % 2 === 0 ? -1 : i - 1)),
    slots: new Int32Array(count).fill(slot),
    scored: Uint8Array.from({ length: count }, (_, i) => i % 2),
    temperatures: new Float32Array(count).fill(1),
  };
}
