/** How many problems a policy solves: greedily or with several samples, strict and lenient side by side. */
import type { Example } from "../data/example.js";
import { randomInteger } from "../data/philox.js";
import { type PromptStyle, stopStrings, toPrompt } from "../data/prompt.js";
import { TinyLoraError } from "../error.js";
import { inTurn } from "../in-turn.js";
import { type Grade, grade } from "../reward/answer.js";
import { encodePrompt, sampleAll } from "../sample/sample.js";
import { mean } from "../train/advantage.js";
import type { Policy } from "../train/policy.js";
import { type Breakdown, breakdown } from "./breakdown.js";
import { majorityAtK } from "./majority.js";
import { passAtK } from "./pass-at-k.js";
import { estimate, type PairedDifference, pairedDifference } from "./statistics.js";

export interface EvaluateOptions extends PromptStyle {
  /** -1 is the base model. */
  readonly slot: number;
  /** Completions a problem. 1 with temperature 0 is greedy. */
  readonly samples: number;
  readonly temperature: number;
  readonly top_p: number;
  readonly top_k: number;
  readonly min_p: number;
  readonly max_completion_length: number;
  readonly stop: readonly string[];
  readonly seed: number;
  /** Values of k to report pass@k and maj@k for, each at most `samples`. */
  readonly k: readonly number[];
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((done: number, total: number) => void) | undefined;
}

/** One completion, as `eval` writes it to a JSONL file. */
export interface EvaluatedCompletion extends Grade {
  readonly id: string;
  readonly sample: number;
  readonly question: string;
  readonly expected: string;
  readonly completion: string;
  readonly tokens: number;
  readonly truncated: boolean;
}

export interface Evaluation {
  readonly problems: number;
  readonly samples: number;
  /** Shares of all completions: with several a problem, avg@n. */
  readonly strict: number;
  readonly lenient: number;
  readonly format: number;
  /** Standard error of `lenient` over the problems; null with only one. */
  readonly standardError: number | null;
  /** The chance that one of k completions is right. */
  readonly passAtK: { readonly k: number; readonly strict: number; readonly lenient: number }[];
  /** How often the answer that most of k completions give is right. */
  readonly majAtK: { readonly k: number; readonly lenient: number }[];
  /** Tables by level and subject, where the data says them. */
  readonly breakdown: Breakdown;
  readonly meanLength: number;
  readonly truncated: number;
  readonly tokens: number;
  readonly seconds: number;
  /** Problem by problem, in the order of the data. */
  readonly completions: EvaluatedCompletion[];
}

/** Greedy decoding, one completion a problem. */
export const greedy = { samples: 1, temperature: 0, top_p: 1, top_k: 0, min_p: 0, seed: 0, k: [] } as const;

/**
 * @example
 * const { test } = await loadDataset("gsm8k");
 * const result = await evaluate(engine, test, { ...greedy, slot: -1, prompt_style: "chat", shots: 0, system: null,
 *   suffix: null, max_completion_length: 256, stop: [] });
 */
export async function evaluate(
  policy: Policy,
  examples: readonly Example[],
  options: EvaluateOptions,
): Promise<Evaluation> {
  const { samples, k, signal, onProgress } = options;
  if (examples.length === 0) throw new TinyLoraError("ERR_DATA", "evaluation: expected problems, found none");
  const wrong = k.find((value) => !Number.isSafeInteger(value) || value < 1 || value > samples);
  if (wrong !== undefined) {
    throw new TinyLoraError(
      "ERR_ARGUMENT",
      `k: expected whole numbers from 1 to ${samples}, the samples of a problem, found ${wrong}`,
    );
  }
  const start = performance.now();
  const toRequest = (example: Example, place: number) => ({
    prompt: encodePrompt(policy, toPrompt(example.question, options), example.id, options.max_completion_length),
    slot: options.slot,
    numGenerations: samples,
    maxCompletionLength: options.max_completion_length,
    temperature: options.temperature,
    topP: options.top_p,
    topK: options.top_k,
    minP: options.min_p,
    seed: randomInteger(options.seed, "evaluation", 0),
    firstSequence: place * samples,
    stopTokens: Int32Array.from(policy.tokenizer.stopTokens),
    stopStrings: [...stopStrings(options), ...options.stop],
    stream: false,
  });
  const requests = await inTurn(examples, toRequest, { signal });
  const completions: EvaluatedCompletion[] = new Array(examples.length * samples);
  let done = 0;
  await sampleAll(
    policy,
    requests,
    ({ request, completion: sample, tokens, truncated }) => {
      const example = examples[request]!;
      const text = policy.tokenizer.decode(tokens);
      completions[request * samples + sample] = {
        id: example.id,
        sample,
        question: example.question,
        expected: example.answer,
        completion: text,
        tokens: tokens.length,
        truncated,
        ...grade(text, example.answer),
      };
      onProgress?.(++done, completions.length);
    },
    signal,
  );
  return summary(completions, examples, options, (performance.now() - start) / 1000);
}

function summary(
  all: EvaluatedCompletion[],
  examples: readonly Example[],
  { samples, k: ks }: EvaluateOptions,
  seconds: number,
): Evaluation {
  const problems = examples.map((example, p) => {
    const own = all.slice(p * samples, (p + 1) * samples);
    const right = (key: "strict" | "lenient") => own.filter((one) => one[key]).length;
    return { row: example.row, own, strict: right("strict"), lenient: right("lenient") };
  });
  const shares = problems.map(({ row, strict, lenient }) => ({
    row,
    strict: strict / samples,
    lenient: lenient / samples,
  }));
  const { mean: lenient, standardError } = estimate(shares.map((share) => share.lenient));
  const passes = (key: "strict" | "lenient", k: number) =>
    mean(problems.map((problem) => passAtK(samples, problem[key], k)));
  return {
    problems: problems.length,
    samples,
    strict: mean(shares.map(({ strict }) => strict)),
    lenient,
    standardError,
    format: mean(all.map(({ format }) => Number(format))),
    passAtK: ks.map((k) => ({ k, strict: passes("strict", k), lenient: passes("lenient", k) })),
    majAtK: ks.map((k) => ({ k, lenient: mean(problems.map(({ own }) => majorityAtK(own, k))) })),
    breakdown: breakdown(shares),
    meanLength: mean(all.map(({ tokens }) => tokens)),
    truncated: mean(all.map(({ truncated }) => Number(truncated))),
    tokens: all.reduce((sum, { tokens }) => sum + tokens, 0),
    seconds,
    completions: all,
  };
}

/** The share of right completions of each problem, in the order of the data. */
export function sharesOf({ completions, samples }: Evaluation): number[] {
  const shares: number[] = [];
  for (let start = 0; start < completions.length; start += samples) {
    shares.push(mean(completions.slice(start, start + samples).map(({ lenient }) => Number(lenient))));
  }
  return shares;
}

/** What the second evaluation solves more than the first, of the same problems. */
export function compare(a: Evaluation, b: Evaluation): PairedDifference {
  const ids = ({ completions, samples }: Evaluation) =>
    completions.filter((_, i) => i % samples === 0).map(({ id }) => id);
  if (ids(a).join("\n") !== ids(b).join("\n")) {
    throw new TinyLoraError("ERR_ARGUMENT", "compare: expected evaluations of the same problems");
  }
  return pairedDifference(sharesOf(a), sharesOf(b));
}
