import { isDeepStrictEqual } from "node:util";
import { TinyLoraError } from "../error.js";
import { resolveConfig } from "./config.js";
import { type Field, fields } from "./fields.js";
import { sections, type TrainConfig, type TrainOptions, withEmbedded } from "./schema.js";

/** How a run learns: from rewards, or from worked answers. */
export const METHODS = ["grpo", "sft"] as const;
export type Method = (typeof METHODS)[number];

const GRPO_SAMPLING = ["num_generations", "temperature", "top_p", "top_k", "min_p"] as const;
const GRPO_OPTIMISER = ["estimator", "sigma", "fisher_damping", "fisher_decay", "keep_activations"] as const;

/** Options that only GRPO uses: SFT has neither rewards nor samples, and evaluates greedily. */
type GrpoOnly =
  | keyof (typeof sections)["Reward"]
  | keyof (typeof sections)["Loss"]
  | (typeof GRPO_SAMPLING)[number]
  | (typeof GRPO_OPTIMISER)[number];

/** The options of supervised fine-tuning. */
export type SftOptions = Omit<TrainOptions, GrpoOnly>;

const UNUSED: Readonly<Record<Method, ReadonlySet<string>>> = {
  grpo: new Set(),
  sft: new Set<string>([
    ...Object.keys(sections.Reward),
    ...Object.keys(sections.Loss),
    ...GRPO_SAMPLING,
    ...GRPO_OPTIMISER,
  ]),
};

/** Where an option means something else to SFT. */
const SFT_FIELDS: Partial<Record<keyof SftOptions, Partial<Pick<Field, "description" | "choices">>>> = {
  answer_column: {
    description:
      "column of the worked answer, where a row has no completion, solution or rationale; a worked answer ends with the answer",
  },
  num_prompts: { description: "worked answers in a step" },
  max_completion_length: {
    description: `how many tokens a completion has at most, when the model is evaluated; ${withEmbedded("max_completion_length")}`,
  },
  stop: { description: "texts that end a completion, besides the model's stop tokens, when the model is evaluated" },
  optim: { description: "optimiser", choices: ["adamw", "sgd"] },
  max_grad_norm: { description: "a gradient with a larger norm is scaled down to this one; 0 means never" },
  seed: { description: "seed of the order of the data and of init" },
};

/** The options that a method uses, as it uses them. */
export function fieldsOf(method: Method): readonly Field[] {
  const used = fields.filter(({ key }) => !UNUSED[method].has(key));
  return method === "grpo" ? used : used.map((field) => ({ ...field, ...SFT_FIELDS[field.key as keyof SftOptions] }));
}

/** Those of the keys that have no effect with the method. */
export function unusedBy(method: Method, keys: readonly string[]): string[] {
  return keys.filter((key) => UNUSED[method].has(key));
}

/** What is said of options that were given and have no effect. */
export function noEffect(names: readonly string[], method: Method): string {
  return `${names.join(", ")} ${names.length === 1 ? "has" : "have"} no effect with ${method}`;
}

/** Throws ERR_CONFIG where options that the method does not use are not as they are by default. */
export function checkUnused(method: Method, config: TrainConfig): void {
  const defaults = resolveConfig({});
  const keys = Object.keys(defaults) as (keyof TrainConfig)[];
  const changed = unusedBy(
    method,
    keys.filter((key) => !isDeepStrictEqual(config[key], defaults[key])),
  );
  if (changed.length > 0) throw new TinyLoraError("ERR_CONFIG", `options: ${noEffect(changed, method)}`);
}

/** The options without those that have no effect with the method. */
export function usedBy(method: Method, options: TrainOptions): TrainOptions {
  return Object.fromEntries(Object.entries(options).filter(([key]) => !UNUSED[method].has(key)));
}

/** Throws ERR_CONFIG where the options ask for what the method does not have. */
export function checkMethod(method: Method, { optim, estimator }: TrainConfig): void {
  if (method !== "sft") return;
  const refuse = (key: string, expected: string, found: string) => {
    throw new TinyLoraError("ERR_CONFIG", `${key}: expected ${expected}, since the method is sft, found ${found}`);
  };
  if (optim === "natural") refuse("optim", "adamw or sgd", optim);
  if (estimator !== "policy_gradient") refuse("estimator", "policy_gradient", estimator);
}
