/**
 * Problems that a run can use: with an answer where one is needed, and room in the model and the passes. They are looked at
 * before the run begins: in the middle of it, the step that meets an unfit one would fail again after every resume.
 */
import type { TrainConfig } from "../config/schema.js";
import { checkAnswer } from "../data/columns.js";
import type { Example } from "../data/example.js";
import { Epochs } from "../data/order.js";
import { type PromptStyle, toPrompt } from "../data/prompt.js";
import { guarded, type OnBroken } from "../data/rows.js";
import { solutionOf } from "../data/solution.js";
import { TinyLoraError } from "../error.js";
import { inTurn } from "../in-turn.js";
import { answerReward, strictReward } from "../reward/answer-reward.js";
import type { NamedReward } from "../reward/reward.js";
import { encodePrompt, tokenizePrompt } from "../sample/sample.js";
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

type Check = (policy: Policy, problem: Example, config: TrainConfig, mostTokens: MostTokens) => void;
const CHECKS: Record<Need, Check> = {
  solution: checkLesson,
  answer(policy, problem, config, mostTokens) {
    checkAnswer(problem);
    checkPrompt(policy, problem, config, mostTokens);
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
  const mostTokens = mostTokensOf(policy, config);
  const check = (problem: Example) => CHECKS[need](policy, problem, config, mostTokens);
  const fits = (problem: Example) => guarded(onBroken, () => check(problem)).length > 0;
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
  const mostTokens = mostTokensOf(policy, config);
  const check = ({ id, question }: Example) => {
    if (mostTokens(question) + config.max_completion_length > policy.model.config.context)
      encodePrompt(policy, toPrompt(question, config), id, config.max_completion_length);
  };
  const onBroken: OnBroken = (error) => void skipped.push(error);
  const fits = (problem: Example) => guarded(onBroken, () => check(problem)).length > 0;
  const fit = await inTurn(problems, fits, { signal });
  if (skipped.length > 0) onWarning(`${skipped.length} problems left out, the first: ${skipped[0]!.message}`);
  return problems.filter((_, place) => fit[place]);
}

function problemsUsed(problems: readonly Example[], { max_steps, num_prompts, seed }: TrainConfig): readonly Example[] {
  const used = max_steps * num_prompts;
  return used >= problems.length ? problems : new Epochs(problems, seed).ofStep(0, used);
}

/** The prompt must leave room for the longest completion, in the model's context, the sampler's cache and a pass. */
function checkPrompt(policy: Policy, { id, question }: Example, config: TrainConfig, mostTokens: MostTokens): void {
  const { max_completion_length, estimator } = config;
  const budget = estimator === "policy_gradient" ? config.token_budget : Number.POSITIVE_INFINITY;
  const cache = policy.cacheTokens;
  const room = Math.min(policy.model.config.context, budget, cache + 1) - max_completion_length;
  if (mostTokens(question) <= room) return;
  const prompt = encodePrompt(policy, toPrompt(question, config), id, max_completion_length);
  const tokens = prompt.length + max_completion_length;
  const what = `the prompt and a completion of ${id}`;
  const short = [
    ...(tokens > budget ? [tooSmall("token_budget", tokens, what, budget)] : []),
    ...(tokens - 1 > cache ? [tooSmall("cache_tokens", tokens - 1, what, cache)] : []), // the last token is not stored
  ];
  if (short.length > 0) throw new TooLong(tokens, short.join("; "));
}

function checkLesson(policy: Policy, example: Example, config: TrainConfig, mostTokens: MostTokens): void {
  const solution = solutionOf(example, config.answer_column);
  const { token_budget: budget } = config;
  const room = Math.min(policy.model.config.context, budget);
  if (solution !== "" && mostTokens(example.question, solution) <= room) return;
  const tokens = toLesson(policy, example, config).tokens.length;
  const what = `the prompt and the answer of ${example.id}`;
  if (tokens > budget) throw new TooLong(tokens, tooSmall("token_budget", tokens, what, budget));
}

function tooSmall(option: string, needed: number, what: string, found: number): string {
  return `${option}: expected at least ${needed} for ${what}, found ${found}`;
}

/** No fewer tokens than a prompt has, and an answer after it, at a fraction of the time that counting them takes. */
type MostTokens = (question: string, answer?: string) => number;

/** What a template writes around an answer, and tokens that are cut otherwise where texts meet. */
const MARGIN = 16;

/** What stands around a question is counted once. A token of the rest holds a byte or more. */
function mostTokensOf(policy: Policy, style: PromptStyle): MostTokens {
  const around = tokenizePrompt(policy, toPrompt("?", style)).length;
  return (question, answer = "") => around + Buffer.byteLength(question) + Buffer.byteLength(answer) + MARGIN;
}
