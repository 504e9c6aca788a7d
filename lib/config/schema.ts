/**
 * Every option of a training run, once: key, default, limits and what it means. Validation (config.ts), command-line
 * flags and their `--help` (fields.ts) are made from this. Keys and meanings are those of TRL's GRPOConfig where it has them.
 */
import { z } from "zod";
import { MODULE_TYPES } from "../adapter/modules.js";
import { DISTRIBUTIONS, KIND_NAMES, LARGEST_RANK, SPLITS } from "../adapter/spec.js";
import { TYING_KINDS } from "../adapter/tying.js";
import { VECTOR_DTYPES } from "../adapter/vector-dtype.js";
import { contradictions } from "./contradictions.js";
import { EMBEDDED, EMBEDDED_DEFAULTS } from "./embedded.js";
import { idleOptions } from "./idle.js";

/** Of options that are null when not given. */
export const DEFAULT_SIGMA = 0.02;
export const DEFAULT_FISHER_DAMPING = 0.01;
export const DEFAULT_FISHER_DECAY = 0.9;

/** Of those that logits are divided by: in fp32 they and their inverses keep clear of 0 and infinity. */
export const LEAST_TEMPERATURE = 1e-30;
export const MOST_TEMPERATURE = 1e30;

const positive = z.number().positive();
const count = z.int().min(1);
const share = z.number().min(0).max(1);
const name = z.string().min(1);
/** What `--help` says of an option's other default. */
export const withEmbedded = (key: keyof typeof EMBEDDED_DEFAULTS) => `with model ${EMBEDDED} ${EMBEDDED_DEFAULTS[key]}`;
const optional = <T extends z.ZodType>(type: T) => type.nullable().default(null);

export const sections = {
  Model: {
    model: optional(name).describe(
      "a Hugging Face folder, a .gguf file, or embedded (this package's own small model); when not given TINYLORA_MODEL, else the first model in ../shared/models",
    ),
    dtype: z
      .enum(["bf16", "fp16", "fp32"])
      .default("bf16")
      .describe("number type that the base weights are kept in; the cpu has no fp16"),
    device: name
      .default("cpu")
      .describe(
        "where the model runs: cpu, cuda (the first usable GPU), cuda:N, cudasim (the CUDA kernels interpreted on the CPU, for tests), reference (plain loops, for tests)",
      ),
    threads: optional(count.max(1024)).describe("compute threads; when not given all cores"),
    max_sequences: count.max(65536).default(64).describe("how many sequences are sampled side by side at most"),
    cache_tokens: z
      .int()
      .min(32)
      .max(2 ** 28)
      .default(16384)
      .describe("positions in the sampler's cache of keys and values, over all sequences"),
  },
  Data: {
    data: name
      .default("gsm8k")
      .describe(
        `name of a data set, a .jsonl, .json, .csv, .tsv or .parquet file, or hf://datasets/owner/name[/path]; ${withEmbedded("data")}`,
      ),
    eval_data: optional(name).describe("data set or file to evaluate on; when not given the held-out part of data"),
    question_column: optional(name).describe(
      "column of the question, where a.b means b within a; when not given the usual names",
    ),
    answer_column: optional(name).describe(
      "column of the answer; of a worked solution, what is boxed or follows #### counts",
    ),
    eval_question_column: optional(name).describe(
      "column of the question in eval_data; when not given question_column, or a named set's own",
    ),
    eval_answer_column: optional(name).describe(
      "column of the answer in eval_data; when not given answer_column, or a named set's own",
    ),
    skip_bad: z
      .boolean()
      .default(false)
      .describe(
        "leave out and count broken rows, and problems with no room in the model; without it the first one is an error",
      ),
    prompt_style: z
      .enum(["chat", "text"])
      .default("chat")
      .describe("write prompts by the model's chat template, or as plain text"),
    shots: z
      .int()
      .min(0)
      .max(8)
      .default(2)
      .describe(`worked examples before each problem, this package's own; ${withEmbedded("shots")}`),
    system: optional(z.string()).describe("system message (chat) or first paragraph (text)"),
    suffix: optional(z.string()).describe("instruction after each problem"),
  },
  Reward: {
    rewards: z
      .array(z.string())
      .min(1)
      .default(["answer"])
      .describe(
        "built-in rewards (answer, strict, format, digits), or modules (./reward.mjs) whose default export is one",
      ),
    reward_weights: optional(z.array(z.number())).describe("one weight for each reward; when not given 1 each"),
    reward_timeout: positive
      .max(86400)
      .default(30)
      .describe("seconds that one call of a reward may take, and also the loading of its module"),
    scale_rewards: z
      .preprocess((v) => (v === true ? "group" : v === false ? "none" : v), z.enum(["group", "batch", "none"]))
      .default("group")
      .describe("divide advantages by the standard deviation of the group, of the batch, or not at all"),
    multi_objective_aggregation: z
      .enum(["sum_then_normalize", "normalize_then_sum"])
      .default("sum_then_normalize")
      .describe("add rewards up before they are normalised, or after (GDPO)"),
  },
  Adapter: {
    adapter: z
      .enum([...KIND_NAMES, "full"])
      .default("tinylora")
      .describe("what is trained: v, all of R (lora_xs), A and B (lora), or the model's own weights (full)"),
    r: count
      .max(LARGEST_RANK)
      .default(2)
      .describe("rank of the truncated SVD of each adapted weight, or of A and B (lora)"),
    u: optional(count.max(4096)).describe("tinylora: trainable numbers of each vector v; when not given 13"),
    lora_alpha: optional(positive).describe("lora: the update is scaled by lora_alpha / r; when not given r"),
    tying: optional(z.enum(TYING_KINDS)).describe(
      "which modules share one vector: all of them (when not given, for tinylora), n_tie neighbours in depth (tiled) or of one type (structured), as PEFT's weight_tying says (ratio), or none (when not given, for lora_xs)",
    ),
    n_tie: optional(count).describe("tiled and structured: how many modules share one vector"),
    weight_tying: optional(share).describe("ratio: PEFT's share of vectors that tying saves"),
    split: z
      .enum(SPLITS)
      .default("left")
      .describe("put the singular values in B (left, as the paper), or their square roots in A and B (sqrt, as PEFT)"),
    projection: optional(z.enum(DISTRIBUTIONS)).describe(
      "distribution of the fixed matrices P; when not given normal (tinylora) or unit (lora_xs)",
    ),
    projection_seed: z.int().min(0).default(0).describe("seed of P, and of A at the start (lora)"),
    target_modules: optional(z.array(z.enum(MODULE_TYPES)).min(1)).describe(
      "linear modules of each layer that are trained; when not given all, and with full also embeddings, norms and head",
    ),
    start_from: optional(name).describe(
      "adapter whose numbers training starts from (folder, run or tl1-...), such as an imported one; the other options describe it",
    ),
    init: z.enum(["zero", "uniform"]).default("zero").describe("v at the start: zero, or uniform in +-0.02"),
    v_dtype: z
      .enum(VECTOR_DTYPES)
      .default("fp32")
      .describe("type that v is rounded to wherever it is used or saved; the optimiser keeps an fp32 master"),
    v_rounding: z
      .enum(["nearest", "stochastic"])
      .default("nearest")
      .describe("how the master is rounded to v_dtype: to nearest, or up and down at random with the right mean"),
  },
  Sampling: {
    num_prompts: count.max(65536).default(8).describe("problems in a step"),
    num_generations: z.int().min(2).max(65536).default(8).describe("completions sampled for each problem: its group"),
    max_completion_length: count
      .default(256)
      .describe(`how many tokens a completion has at most; ${withEmbedded("max_completion_length")}`),
    temperature: z
      .number()
      .min(LEAST_TEMPERATURE)
      .max(MOST_TEMPERATURE)
      .default(1)
      .describe("temperature of sampling, and of the log-probabilities that are trained"),
    top_p: z
      .number()
      .gt(0)
      .max(1)
      .default(1)
      .describe("sample from the likeliest tokens that together reach this probability"),
    top_k: z.int().min(0).default(0).describe("sample from this many of the likeliest tokens; 0 means all"),
    min_p: share.default(0).describe("leave out tokens that are less likely than this share of the likeliest one"),
    stop: z
      .array(z.string().min(1))
      .default([])
      .describe("texts that end a completion, besides the model's stop tokens"),
  },
  Loss: {
    loss_type: z
      .enum(["dapo", "grpo", "bnpo", "dr_grpo", "cispo", "sapo", "luspo"])
      .default("dapo")
      .describe("loss of a token and how it is averaged, as in TRL"),
    beta: z.number().min(0).default(0).describe("weight of the KL divergence from the base model"),
    use_bias_correction_kl: z.boolean().default(true).describe("multiply the KL term by the importance ratio"),
    epsilon: z.number().min(0).default(0.2).describe("lower clip range of the importance ratio"),
    epsilon_high: optional(z.number().min(0)).describe(
      "upper clip range; when not given epsilon; for cispo the largest ratio itself",
    ),
    delta: optional(positive).describe("upper bound of the ratio where the clip leaves it free (two-sided clipping)"),
    importance_sampling_level: z
      .enum(["token", "sequence"])
      .default("token")
      .describe("an importance ratio for each token, or one for the whole sequence (GSPO)"),
    sapo_temperature_pos: positive.default(1).describe("sapo: gate temperature for positive advantages"),
    sapo_temperature_neg: positive.default(1.05).describe("sapo: gate temperature for the others"),
    mask_truncated_completions: z
      .boolean()
      .default(false)
      .describe("leave completions that were cut at max_completion_length out of the loss"),
    num_iterations: count
      .default(1)
      .describe("updates made from each batch of completions; together they are one step"),
  },
  Optimiser: {
    estimator: z
      .enum(["policy_gradient", "evolution_strategies"])
      .default("policy_gradient")
      .describe(
        "where the gradient of v comes from: a backward pass, or without one the rewards of completions that were each sampled from a perturbed v of their own",
      ),
    sigma: optional(positive).describe(
      `evolution_strategies: standard deviation of the perturbations of v; when not given ${DEFAULT_SIGMA}`,
    ),
    optim: z
      .enum(["adamw", "sgd", "natural"])
      .default("adamw")
      .describe(
        "optimiser; natural goes along the inverse Fisher matrix of v, made from every completion's own gradient",
      ),
    fisher_damping: optional(z.number().min(0)).describe(
      `natural: added to the Fisher matrix's diagonal, as a share of its mean there; when not given ${DEFAULT_FISHER_DAMPING}`,
    ),
    fisher_decay: optional(z.number().min(0).lt(1)).describe(
      `natural: how much the running mean of Fisher matrices keeps of itself in a step; when not given ${DEFAULT_FISHER_DECAY}`,
    ),
    learning_rate: positive.default(2e-3).describe("largest learning rate"),
    lr_scheduler_type: z.enum(["constant", "cosine"]).default("constant").describe("learning rate after the warm-up"),
    warmup_steps: z.int().min(0).default(0).describe("steps over which the learning rate rises linearly"),
    momentum: z.number().min(0).lt(1).default(0).describe("momentum of sgd"),
    adam_beta1: z.number().min(0).lt(1).default(0.9).describe("decay of AdamW's first moment"),
    adam_beta2: z.number().min(0).lt(1).default(0.999).describe("decay of AdamW's second moment"),
    adam_epsilon: positive.default(1e-8).describe("added to AdamW's denominator"),
    weight_decay: z
      .number()
      .min(0)
      .default(0)
      .describe("decoupled decay of what is trained; with full, of its matrices alone"),
    max_grad_norm: z
      .number()
      .min(0)
      .default(1)
      .describe(
        "a gradient with a larger norm (natural: in the metric of the inverse Fisher matrix) is scaled down to this one; 0 means never",
      ),
    token_budget: count.default(2048).describe("rows (prompt and completion tokens) of one forward and backward pass"),
    gradient_checkpointing: z
      .boolean()
      .default(false)
      .describe(
        "keep only the input of each layer for the backward pass and compute the rest again: less memory, more time, the same bits",
      ),
    keep_activations: z
      .boolean()
      .default(false)
      .describe(
        "keep what sampling computes for the backward pass, which then needs no forward pass: more memory, less time, the same bits",
      ),
  },
  Run: {
    max_steps: count.default(150).describe("steps of the run"),
    seed: z
      .int()
      .min(0)
      .max(Number.MAX_SAFE_INTEGER)
      .default(42)
      .describe("seed of the order of the data, of sampling and of init"),
    eval_steps: z
      .int()
      .min(0)
      .default(25)
      .describe("evaluate before the first step, after every n-th and after the last; 0 means never"),
    eval_examples: count
      .default(100)
      .describe("how many held-out problems such an evaluation takes, spread evenly over the set"),
    save_steps: count.default(1).describe("steps between checkpoints; the last step always makes one"),
    save_total_limit: count.default(3).describe("how many checkpoints are kept, the newest ones"),
  },
};

const options = z.strictObject({
  ...sections.Model,
  ...sections.Data,
  ...sections.Reward,
  ...sections.Adapter,
  ...sections.Sampling,
  ...sections.Loss,
  ...sections.Optimiser,
  ...sections.Run,
});

/** The resolved options of a run: every key has a value. */
export type TrainConfig = z.output<typeof options>;
/** What a user writes: every key may be left out. */
export type TrainOptions = z.input<typeof options>;

const defaults = options.parse({});

export const trainSchema = options.check((context) => {
  for (const [key, message] of [...contradictions(context.value), ...idleOptions(context.value, defaults)]) {
    context.issues.push({ code: "custom", path: [key], message, input: context.value[key] });
  }
});
