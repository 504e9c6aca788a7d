/** Options that another option leaves without effect: they are to stay as they are by default. */
import type { TrainConfig } from "./schema.js";

type Key = keyof TrainConfig;

interface Rule {
  readonly keys: readonly Key[];
  /** The option that decides it. */
  readonly by: Key;
  readonly idle: (config: TrainConfig) => boolean;
}

const CLIP = ["epsilon", "epsilon_high", "delta"] as const;
const SAPO = ["sapo_temperature_pos", "sapo_temperature_neg"] as const;
const LOSS = ["loss_type", "use_bias_correction_kl", "importance_sampling_level", ...CLIP, ...SAPO] as const;
const PASSES = [...LOSS, "token_budget", "gradient_checkpointing", "keep_activations"] as const;

/** Of a key that more than one leaves idle, the first is told. */
const RULES: readonly Rule[] = [
  { keys: ["u", "projection"], by: "adapter", idle: ({ adapter }) => adapter !== "tinylora" },
  { keys: ["projection_seed"], by: "adapter", idle: ({ adapter }) => adapter === "lora_xs" || adapter === "full" },
  { keys: ["tying", "split", "init", "v_dtype"], by: "adapter", idle: (config) => !trainsVector(config) },
  { keys: ["lora_alpha"], by: "adapter", idle: ({ adapter }) => adapter !== "lora" },
  { keys: ["r"], by: "adapter", idle: ({ adapter }) => adapter === "full" },
  { keys: ["v_rounding"], by: "v_dtype", idle: ({ v_dtype }) => v_dtype === "fp32" },
  { keys: ["sigma"], by: "estimator", idle: ({ estimator }) => estimator !== "evolution_strategies" },
  { keys: PASSES, by: "estimator", idle: ({ estimator }) => estimator === "evolution_strategies" },
  {
    keys: ["scale_rewards"],
    by: "multi_objective_aggregation",
    idle: (config) => config.multi_objective_aggregation === "normalize_then_sum",
  },
  { keys: CLIP, by: "loss_type", idle: ({ loss_type }) => loss_type === "sapo" },
  { keys: ["delta"], by: "loss_type", idle: ({ loss_type }) => loss_type === "cispo" },
  { keys: SAPO, by: "loss_type", idle: ({ loss_type }) => loss_type !== "sapo" },
  { keys: ["use_bias_correction_kl"], by: "beta", idle: ({ beta }) => beta === 0 },
  { keys: ["fisher_damping", "fisher_decay"], by: "optim", idle: ({ optim }) => optim !== "natural" },
  { keys: ["adam_beta1", "adam_beta2", "adam_epsilon"], by: "optim", idle: ({ optim }) => optim !== "adamw" },
  { keys: ["eval_data", "eval_examples"], by: "eval_steps", idle: ({ eval_steps }) => eval_steps === 0 },
  {
    keys: ["eval_question_column", "eval_answer_column"],
    by: "eval_data",
    idle: (config) => config.eval_data === null,
  },
  { keys: ["momentum"], by: "optim", idle: ({ optim }) => optim !== "sgd" },
];

/** Whether v is trained, of which every tie group has one. */
export function trainsVector({ adapter }: TrainConfig): boolean {
  return adapter === "tinylora" || adapter === "lora_xs";
}

/** The keys that were changed to no effect, and what was expected of each; `defaults`: of every option. */
export function idleOptions(config: TrainConfig, defaults: Readonly<Record<string, unknown>>): [Key, string][] {
  const found = new Map<Key, string>();
  for (const { keys, by, idle } of RULES) {
    if (!idle(config)) continue;
    for (const key of keys.filter((key) => config[key] !== defaults[key] && !found.has(key))) {
      const standard = defaults[key] === null ? "nothing" : String(defaults[key]);
      const given = config[by] === null ? "not given" : String(config[by]);
      found.set(key, `expected ${standard}, since ${by} is ${given}: it has no effect there`);
    }
  }
  return [...found];
}
