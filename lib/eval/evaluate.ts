/** How many problems a policy solves: greedily or with several samples, strict and lenient side by side. */
import { resolveConfig } from "../config/config.js";
import { optionsOfModel } from "../config/described.js";
import type { TrainConfig } from "../config/schema.js";
import type { Example } from "../data/example.js";
import { type PromptStyle, toPrompt } from "../data/prompt.js";
import { TinyLoraError } from "../error.js";
import { inTurn } from "../in-turn.js";
import { mean } from "../mean.js";
import { checkOptionNames } from "../option-names.js";
import { randomInteger } from "../philox.js";
import type { Policy } from "../policy.js";
import { type Grade, grade } from "../reward/answer.js";
import { encodePrompt, sampleAll, samplingOf } from "../sample/sample.js";
import { show } from "../show.js";
import { type Breakdown, breakdown } from "./breakdown.js";
import { majorityAtK } from "./majority.js";
import { passAtK } from "./pass-at-k.js";
import { estimate, type PairedDifference, pairedDifference } from "./statistics.js";

/**
 * How problems are asked, and how long answers may be: as training of this model does when not given. {@link askedAs} a
 * run asks.
 */
interface Asked extends PromptStyle {
  readonly max_completion_length: number;
  readonly stop: readonly string[];
}

interface Drawn {
  /** That of an adapter. -1, the base model, when not given. */
  readonly slot: number;
  /** Completions a problem; 1 when not given. */
  readonly samples: number;
  /** 0 is greedy. When not given 0 for one sample and 1 for several. */
  readonly temperature: number;
  /** 1 when not given. */
  readonly top_p: number;
  /** 0, all tokens, when not given. */
  readonly top_k: number;
  /** 0 when not given. */
  readonly min_p: number;
  /** 0 when not given. */
  readonly seed: number;
  /** Values of k to report pass@k and maj@k for, each at most `samples`. None when not given. */
  readonly k: readonly number[];
}

type Optional<T> = { readonly [Name in keyof T]?: T[Name] | undefined };

export interface EvaluateOptions extends Optional<Asked>, Optional<Drawn> {
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

/** As num_generations has at most. */
const MOST_SAMPLES = 65536;

const OPTION_NAMES = {
  ...{ prompt_style: true, shots: true, system: true, suffix: true, max_completion_length: true, stop: true },
  ...{ slot: true, samples: true, temperature: true, top_p: true, top_k: true, min_p: true, seed: true, k: true },
  ...{ signal: true, onProgress: true },
} as const satisfies Record<keyof EvaluateOptions, true>;

/** How a run asks its problems, so that an evaluation can ask as it was trained. */
export function askedAs(config: TrainConfig): Asked {
  const { prompt_style, shots, system, suffix, max_completion_length, stop } = config;
  return { prompt_style, shots, system, suffix, max_completion_length, stop };
}

/**
 * Samples answers and judges them; greedily, one a problem, of the base model when not asked otherwise. ERR_ARGUMENT for
 * wrong options, ERR_CONFIG for those that training has too; ERR_DATA where there are no problems, or one leaves no room
 * for a completion.
 *
 * @example
 * const { test } = await loadDataset("gsm8k");
 * const { lenient } = await evaluate(engine, test.slice(0, 100), { slot: 0, samples: 4, k: [1, 4] });
 */
export async function evaluate(
  policy: Policy,
  examples: readonly Example[],
  given: EvaluateOptions = {},
): Promise<Evaluation> {
  checkOptionNames("options", given, OPTION_NAMES);
  const { signal, onProgress } = given;
  const options = resolved(policy, given);
  const { samples } = options;
  if (!Array.isArray(examples)) {
    throw new TinyLoraError("ERR_ARGUMENT", `evaluation: expected a list of problems, found ${show(examples)}`);
  }
  if (examples.length === 0) throw new TinyLoraError("ERR_DATA", "evaluation: expected problems, found none");
  const start = performance.now();
  const sampling = { ...samplingOf(policy, options), seed: randomInteger(options.seed, "evaluation", 0) };
  const toRequest = (example: Example, place: number) => ({
    ...sampling,
    prompt: encodePrompt(policy, toPrompt(example.question, options), example.id, options.max_completion_length),
    slot: options.slot,
    numGenerations: samples,
    firstSequence: place * samples,
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

/** With defaults, and checked as the options of training are. */
function resolved(policy: Policy, given: EvaluateOptions): Asked & Drawn {
  const { slot = -1, samples = 1, k = [], seed = 0, signal: _, onProgress: __, ...others } = given;
  if (!isWhole(samples, MOST_SAMPLES)) {
    throw new TinyLoraError(
      "ERR_ARGUMENT",
      `samples: expected a whole number from 1 to ${MOST_SAMPLES}, found ${show(samples)}`,
    );
  }
  if (!Array.isArray(k) || !k.every((value) => isWhole(value, samples))) {
    throw new TinyLoraError(
      "ERR_ARGUMENT",
      `k: expected a list of whole numbers from 1 to ${samples}, the samples of a problem, found ${show(k)}`,
    );
  }
  const temperature = given.temperature ?? (samples === 1 ? 0 : 1);
  const drawn = temperature === 0 ? undefined : temperature; // training has no greedy samples
  const config = resolveConfig({ ...optionsOfModel(policy.model.path), ...others, seed, temperature: drawn });
  const { top_p, top_k, min_p } = config;
  return { ...askedAs(config), slot, samples, temperature, top_p, top_k, min_p, seed, k };
}

function isWhole(value: unknown, most: number): boolean {
  return Number.isInteger(value) && (value as number) >= 1 && (value as number) <= most;
}

function summary(
  all: EvaluatedCompletion[],
  examples: readonly Example[],
  { samples, k: ks }: Drawn,
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
