/** Options that are fine alone and wrong together. */
import { trainsVector } from "./idle.js";
import type { TrainConfig } from "./schema.js";

/** Completions of a step: they are all held in memory. */
const MOST_COMPLETIONS = 2 ** 20;

/** The key of each fault, and what was expected of it. */
export function contradictions(config: TrainConfig): [keyof TrainConfig, string][] {
  const found: [keyof TrainConfig, string][] = [];
  const { rewards, reward_weights, n_tie, weight_tying, epsilon, epsilon_high, delta } = config;
  const tying = config.tying ?? (config.adapter === "lora_xs" ? "none" : "all");
  if (reward_weights !== null && reward_weights.length !== rewards.length) {
    found.push(["reward_weights", `expected ${rewards.length} numbers, one for each of rewards`]);
  }
  const { num_prompts, num_generations } = config;
  if (num_prompts * num_generations > MOST_COMPLETIONS) {
    const completions = `a step has at most ${MOST_COMPLETIONS} completions, and num_prompts is ${num_prompts}`;
    found.push(["num_generations", `expected at most ${Math.floor(MOST_COMPLETIONS / num_prompts)}: ${completions}`]);
  }
  const counted = tying === "tiled" || tying === "structured";
  if (counted !== (n_tie !== null)) {
    found.push(["n_tie", `expected ${counted ? "a number of modules" : "nothing"}, since tying is ${tying}`]);
  }
  if ((tying === "ratio") !== (weight_tying !== null)) {
    found.push(["weight_tying", `expected ${tying === "ratio" ? "a share" : "nothing"}, since tying is ${tying}`]);
  }
  if (config.dtype === "fp16" && config.device === "cpu") {
    found.push(["dtype", "expected bf16 or fp32, since device is cpu"]);
  }
  if (config.start_from !== null && config.adapter === "full") {
    found.push(["start_from", "expected nothing, since adapter is full: model names the weights it starts from"]);
  }
  if (config.start_from !== null && config.init !== "zero") {
    found.push(["init", "expected zero, since start_from gives the numbers"]);
  }
  if (config.adapter === "full" && config.beta > 0) {
    found.push([
      "beta",
      "expected 0, since adapter is full: its reference model would be a second copy of the weights",
    ]);
  }
  if (delta !== null && delta <= 1 + (epsilon_high ?? epsilon)) {
    found.push(["delta", "expected more than 1 + epsilon_high, or the clip never applies"]);
  }
  if (config.loss_type === "luspo" && config.importance_sampling_level !== "sequence") {
    found.push(["importance_sampling_level", "expected sequence, since loss_type is luspo"]);
  }
  found.push(...naturalContradictions(config), ...evolutionContradictions(config));
  if (config.warmup_steps > config.max_steps) {
    found.push(["warmup_steps", `expected at most max_steps (${config.max_steps})`]);
  }
  return found;
}

/** Its gradient is a sum of the completions' own, each times one number: what a loss at the sampling policy has. */
function naturalContradictions(config: TrainConfig): [keyof TrainConfig, string][] {
  if (config.optim !== "natural") return [];
  const found: [keyof TrainConfig, string][] = [];
  if (!trainsVector(config))
    found.push(["optim", `expected adamw or sgd, since adapter is ${config.adapter}: natural trains v alone`]);
  if (config.num_iterations > 1) found.push(["num_iterations", "expected 1, since optim is natural"]);
  if (config.beta > 0) found.push(["beta", "expected 0, since optim is natural"]);
  return found;
}

/** It has no pass, so nothing of a loss but the advantages. */
function evolutionContradictions(config: TrainConfig): [keyof TrainConfig, string][] {
  const { estimator } = config;
  if (estimator !== "evolution_strategies") return [];
  const found: [keyof TrainConfig, string][] = [];
  const since = `since estimator is ${estimator}`;
  if (!trainsVector(config))
    found.push(["estimator", `expected policy_gradient, since adapter is ${config.adapter}: v alone is perturbed`]);
  if (config.optim === "natural") found.push(["optim", `expected adamw or sgd, ${since}`]);
  if (config.num_iterations > 1) found.push(["num_iterations", `expected 1, ${since}`]);
  if (config.beta > 0) found.push(["beta", `expected 0, ${since}`]);
  if (config.num_generations % 2 === 1) {
    found.push(["num_generations", `expected an even number, ${since}: perturbations come in pairs`]);
  }
  return found;
}
