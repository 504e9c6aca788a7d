/**
 * Problems that a run can use: with an answer where one is needed, and room in the model and the passes. They are looked at
 * before the run begins: in the middle of it, the step that meets an unfit one would fail again after every resume.
 */
import type { TrainConfig } from "../config/schema.js";
import { type OnBroken, passes } from "../data/broken.js";
import { checkAnswer } from "../data/columns.js";
import type { Example } from "../data/example.js";
import type { Dataset } from "../data/load.js";
import { Epochs, spread } from "../data/order.js";
import { type PromptStyle, toPrompt } from "../data/prompt.js";
import { solutionOf } from "../data/solution.js";
import { TinyLoraError } from "../error.js";
import { inTurn } from "../in-turn.js";
import type { PromptReader } from "../policy.js";
import { answerReward, strictReward } from "../reward/answer-reward.js";
import type { NamedReward } from "../reward/reward.js";
import { encodePrompt, tokenizePrompt } from "../sample/sample.js";
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

type Check = (policy: PromptReader, problem: Example, config: TrainConfig, mostTokens: MostTokens) => void;
const CHECKS: Record<Need, Check> = {
  solution: checkLesson,
  answer(policy, problem, config, mostTokens) {
    checkAnswer(problem);
    checkRollout(policy, problem, config, mostTokens);
  },
  nothing: checkRollout,
};

type Told = Pick<TrainCallbacks, "signal" | "onWarning">;

/** Without `skip_bad` an unfit problem that the run's steps will use is an error, with it all unfit ones are left out. */
export async function usableProblems(
  policy: PromptReader,
  problems: readonly Example[],
  config: TrainConfig,
  need: Need,
  { signal, onWarning = () => {} }: Told,
): Promise<readonly Example[]> {
  const mostTokens = mostTokensOf(policy, config);
  const check = (problem: Example) => CHECKS[need](policy, problem, config, mostTokens);
  const looked = config.skip_bad ? problems : problemsUsed(problems, config);
  const { fit, skipped } = await fitting(looked, check, config, signal);
  const usable = config.skip_bad ? fit : problems;
  if (usable.length === 0) throw skipped[0]!;
  tellSkipped(skipped, onWarning);
  if (config.num_prompts > usable.length) {
    onWarning(
      `num_prompts: a step takes ${config.num_prompts} problems, of ${usable.length} there are: each comes up to ${Math.ceil(config.num_prompts / usable.length)} times in it`,
    );
  }
  return usable;
}

type EvaluationOptions = PromptStyle & Pick<TrainConfig, "max_completion_length" | "skip_bad">;

/**
 * What is evaluated. Without `skip_bad` a problem that leaves no room for a completion, in the model's context or the
 * sampler's cache, is an error, with it such ones are left out.
 */
export async function evaluableProblems(
  policy: PromptReader,
  problems: readonly Example[],
  config: EvaluationOptions,
  { signal, onWarning = () => {} }: Told,
): Promise<readonly Example[]> {
  const mostTokens = mostTokensOf(policy, config);
  const check = (problem: Example) => checkPrompt(policy, problem, config, mostTokens);
  const { fit, skipped } = await fitting(problems, check, config, signal);
  tellSkipped(skipped, onWarning);
  return fit;
}

/** The held-out problems that a run's evaluations take, none where it has no evaluations. */
export async function heldOutProblems(
  policy: PromptReader,
  { name, test }: Dataset,
  config: TrainConfig,
  told: Told,
): Promise<readonly Example[]> {
  const { eval_steps, eval_examples, skip_bad } = config;
  if (eval_steps === 0) return [];
  if (test.length === 0) told.onWarning?.(`eval_steps: nothing is evaluated, since ${name} has no held-out problems`);
  const looked = skip_bad ? test : spread(test, eval_examples);
  return spread(await evaluableProblems(policy, looked, config, told), eval_examples);
}

/** The problems that pass a check, and the errors of those that `skip_bad` leaves out; without that they are thrown. */
async function fitting(
  problems: readonly Example[],
  check: (problem: Example) => void,
  { skip_bad }: Pick<TrainConfig, "skip_bad">,
  signal: AbortSignal | undefined,
): Promise<{ fit: readonly Example[]; skipped: readonly TinyLoraError[] }> {
  const skipped: TinyLoraError[] = [];
  let longest: TooLong | undefined;
  const refuse: OnBroken = (error) => {
    if (!(error instanceof TooLong)) throw error;
    if (error.tokens > (longest?.tokens ?? 0)) longest = error;
  };
  const onBroken: OnBroken = skip_bad ? (error) => void skipped.push(error) : refuse;
  const fits = (problem: Example) => passes(onBroken, () => check(problem));
  const fit = await inTurn(problems, fits, { signal });
  if (longest) throw longest;
  return { fit: problems.filter((_, place) => fit[place]), skipped };
}

function tellSkipped(skipped: readonly TinyLoraError[], onWarning: (message: string) => void): void {
  if (skipped.length > 0) onWarning(`${skipped.length} problems left out, the first: ${skipped[0]!.message}`);
}

function problemsUsed(problems: readonly Example[], { max_steps, num_prompts, seed }: TrainConfig): readonly Example[] {
  const used = max_steps * num_prompts;
  return used >= problems.length ? problems : new Epochs(problems, seed).ofStep(0, used);
}

/** Of a step, whose passes hold at most `token_budget` rows. */
function checkRollout(policy: PromptReader, problem: Example, config: TrainConfig, mostTokens: MostTokens): void {
  const passes = config.estimator === "policy_gradient";
  checkPrompt(policy, problem, config, mostTokens, passes ? config.token_budget : Number.POSITIVE_INFINITY);
}

/**
 * The prompt must leave room for the longest completion, in the model's context, the sampler's cache and a pass of
 * `budget` rows.
 */
function checkPrompt(
  policy: PromptReader,
  { id, question }: Example,
  config: EvaluationOptions,
  mostTokens: MostTokens,
  budget = Number.POSITIVE_INFINITY,
): void {
  const { max_completion_length } = config;
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

function checkLesson(policy: PromptReader, example: Example, config: TrainConfig, mostTokens: MostTokens): void {
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
function mostTokensOf(policy: PromptReader, style: PromptStyle): MostTokens {
  const around = tokenizePrompt(policy, toPrompt("?", style)).length;
  return (question, answer = "") => around + Buffer.byteLength(question) + Buffer.byteLength(answer) + MARGIN;
}
