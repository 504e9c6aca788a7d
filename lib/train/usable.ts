/**
 * Problems that a run can use: with an answer where one is needed, and room in the model and the passes. They are looked at
 * before the run begins: in the middle of it, the step that meets an unfit one would fail again after every resume.
 */
import type { TrainConfig } from "../config/schema.js";
import { checkAnswer } from "../data/columns.js";
import type { Example } from "../data/example.js";
import { Epochs } from "../data/order.js";
import { type ProblemPrompt, type PromptStyle, toPrompt } from "../data/prompt.js";
import { guarded, type OnBroken } from "../data/rows.js";
import { solutionOf } from "../data/solution.js";
import { TinyLoraError } from "../error.js";
import { answerReward, strictReward } from "../reward/answer-reward.js";
import type { NamedReward } from "../reward/reward.js";
import { inTurn } from "../sample/in-turn.js";
import { encodePrompt } from "../sample/sample.js";
import type { Policy } from "./policy.js";
import type { TrainCallbacks } from "./run.js";
import { toLesson } from "./sft.js";

/** What problems must have besides a question: a worked answer to learn, an answer that is rewarded, or nothing. */
export type Need = "solution" | "answer" | "nothing";

export function needOf(rewards: readonly NamedReward[]): Need {
  return rewards.some(({ reward }) => reward === answerReward || reward === strictReward) ? "answer" : "nothing";
}

/** A problem for which an option is too small. Of several the longest is told, so that one change suffices. */
class TooLong extends TinyLoraError {
  constructor(
    readonly tokens: number,
    message: string,
  ) {
    super("ERR_CONFIG", message);
  }
}

type Check = (policy: Policy, problem: Example, config: TrainConfig) => void;
const CHECKS: Record<Need, Check> = {
  solution: checkLesson,
  answer(policy, problem, config) {
    checkAnswer(problem);
    checkPrompt(policy, problem, config);
  },
  nothing: checkPrompt,
};

/** Without `skip_bad` an unfit problem that the run's steps will use is an error, with it all unfit ones are left out. */
export async function usableProblems(
  policy: Policy,
  problems: readonly Example[],
  config: TrainConfig,
  need: Need,
  { signal, onWarning = () => {} }: Pick<TrainCallbacks, "signal" | "onWarning"> = {},
): Promise<readonly Example[]> {
  const skipped: TinyLoraError[] = [];
  let longest: TooLong | undefined;
  const refuse: OnBroken = (error) => {
    if (!(error instanceof TooLong)) throw error;
    if (error.tokens > (longest?.tokens ?? 0)) longest = error;
  };
  const onBroken: OnBroken = config.skip_bad ? (error) => void skipped.push(error) : refuse;
  const fits = (problem: Example) => guarded(onBroken, () => CHECKS[need](policy, problem, config)).length > 0;
  const looked = config.skip_bad ? problems : problemsUsed(problems, config);
  const fit = await inTurn(looked, fits, { signal });
  if (longest) throw longest;
  const usable = config.skip_bad ? problems.filter((_, place) => fit[place]) : problems;
  if (usable.length === 0) throw skipped[0]!;
  if (skipped.length > 0) onWarning(`${skipped.length} problems left out, the first: ${skipped[0]!.message}`);
  if (config.num_prompts > usable.length) {
    onWarning(
      `num_prompts: a step takes ${config.num_prompts} problems, of ${usable.length} there are: each comes up to ${Math.ceil(config.num_prompts / usable.length)} times in it`,
    );
  }
  return usable;
}

/** What is evaluated: with `skip_bad` without the problems that leave no room for a completion in the model's context. */
export async function evaluableProblems(
  policy: Policy,
  problems: readonly Example[],
  config: PromptStyle & Pick<TrainConfig, "max_completion_length" | "skip_bad">,
  { signal, onWarning = () => {} }: Pick<TrainCallbacks, "signal" | "onWarning"> = {},
): Promise<readonly Example[]> {
  if (!config.skip_bad) return problems;
  const skipped: TinyLoraError[] = [];
  const fits = ({ id, question }: Example) =>
    guarded(
      (error) => void skipped.push(error),
      () => checkRoom(policy, id, toPrompt(question, config), config.max_completion_length),
    ).length > 0;
  const fit = await inTurn(problems, fits, { signal });
  if (skipped.length > 0) onWarning(`${skipped.length} problems left out, the first: ${skipped[0]!.message}`);
  return problems.filter((_, place) => fit[place]);
}

function checkRoom(policy: Policy, id: string, prompt: ProblemPrompt, maxCompletionLength: number): void {
  if (mostTokens(prompt) + maxCompletionLength > policy.model.config.context)
    encodePrompt(policy, prompt, id, maxCompletionLength);
}

function problemsUsed(problems: readonly Example[], { max_steps, num_prompts, seed }: TrainConfig): readonly Example[] {
  const used = max_steps * num_prompts;
  return used >= problems.length ? problems : new Epochs(problems, seed).ofStep(0, used);
}

/** The prompt must leave room for the longest completion, in the model's context, the sampler's cache and a pass. */
function checkPrompt(policy: Policy, { id, question }: Example, config: TrainConfig): void {
  const { max_completion_length, estimator } = config;
  const budget = estimator === "policy_gradient" ? config.token_budget : Number.POSITIVE_INFINITY;
  const cache = policy.cacheTokens;
  const room = Math.min(policy.model.config.context, budget, cache + 1) - max_completion_length;
  const prompt = toPrompt(question, config);
  if (mostTokens(prompt) <= room) return;
  const tokens = encodePrompt(policy, prompt, id, max_completion_length).length + max_completion_length;
  const what = `the prompt and a completion of ${id}`;
  const short = [
    ...(tokens > budget ? [tooSmall("token_budget", tokens, what, budget)] : []),
    ...(tokens - 1 > cache ? [tooSmall("cache_tokens", tokens - 1, what, cache)] : []), // the last token is not stored
  ];
  if (short.length > 0) throw new TooLong(tokens, short.join("; "));
}

function checkLesson(policy: Policy, example: Example, config: TrainConfig): void {
  const solution = solutionOf(example, config.answer_column);
  const { token_budget: budget } = config;
  const room = Math.min(policy.model.config.context, budget);
  const most = mostTokens(toPrompt(example.question, config)) + mostTokens(solution);
  if (solution !== "" && most <= room) return;
  const tokens = toLesson(policy, example, config).tokens.length;
  const what = `the prompt and the answer of ${example.id}`;
  if (tokens > budget) throw new TooLong(tokens, tooSmall("token_budget", tokens, what, budget));
}

function tooSmall(option: string, needed: number, what: string, found: number): string {
  return `${option}: expected at least ${needed} for ${what}, found ${found}`;
}

/** What a chat template adds to its messages, a system message of its own among it, and to each of them. */
const TEMPLATE_TOKENS = 48;
const MESSAGE_TOKENS = 8;

/** No fewer tokens than it has, at a fraction of the time that counting them takes: each holds a byte or more. */
function mostTokens(prompt: ProblemPrompt): number {
  if (typeof prompt === "string") return Buffer.byteLength(prompt) + MESSAGE_TOKENS;
  const messages = prompt.map(({ content }) => Buffer.byteLength(content) + MESSAGE_TOKENS);
  return messages.reduce((sum, tokens) => sum + tokens, TEMPLATE_TOKENS);
}
