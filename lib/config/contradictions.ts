/** Options that are fine alone and wrong together. */
import type { TrainConfig } from "./schema.js";

/** The key of each fault, and what was expected of it. */
export function contradictions(config: TrainConfig): [keyof TrainConfig, string][] {
  const found: [keyof TrainConfig, string][] = [];
  const { rewards, reward_weights, n_tie, weight_tying, epsilon, epsilon_high, delta } = config;
  const tying = config.tying ?? (config.adapter === "lora_xs" ? "none" : "all");
  if (reward_weights !== null && reward_weights.length !== rewards.length) {
    found.push(["reward_weights", `expected ${rewards.length} numbers, one for each of rewards`]);
  }
  const counted = tying === "tiled" || tying === "structured";
  if (counted !== (n_tie !== null)) {
    found.push(["n_tie", `expected ${counted ? "a number of modules" : "nothing"}, since tying is ${tying}`]);
  }
  if ((tying === "ratio") !== (weight_tying !== null)) {
    found.push(["weight_tying", `expected ${tying === "ratio" ? "a share" : "nothing"}, since tying is ${tying}`]);
  }
  const vector = config.adapter === "tinylora" || config.adapter === "lora_xs";
  if (config.dtype === "fp16" && config.device === "cpu") {
    found.push(["dtype", "expected bf16 or fp32, since device is cpu"]);
  }
  const only = (kind: string, key: keyof TrainConfig, given: boolean) => {
    if (given) found.push([key, `expected nothing, since adapter is ${config.adapter}: it is ${kind}'s`]);
  };
  only("tinylora", "u", config.adapter !== "tinylora" && config.u !== null);
  only("tinylora", "projection", config.adapter !== "tinylora" && config.projection !== null);
  only("lora", "lora_alpha", config.adapter !== "lora" && config.lora_alpha !== null);
  only("tinylora and lora_xs", "tying", !vector && config.tying !== null);
  only("tinylora and lora_xs", "v_dtype", !vector && config.v_dtype !== "fp32");
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
  if (config.optim !== "sgd" && config.momentum !== 0) {
    found.push(["momentum", `expected 0, since optim is ${config.optim}`]);
  }
  found.push(...naturalContradictions(config, vector), ...evolutionContradictions(config, vector));
  if (config.warmup_steps > config.max_steps) {
    found.push(["warmup_steps", `expected at most max_steps (${config.max_steps})`]);
  }
  return found;
}

/** Its gradient is a sum of the completions' own, each times one number: what a loss at the sampling policy has. */
function naturalContradictions(config: TrainConfig, vector: boolean): [keyof TrainConfig, string][] {
  const { optim, fisher_damping, fisher_decay } = config;
  const found: [keyof TrainConfig, string][] = [];
  if (optim !== "natural") {
    const given = { fisher_damping, fisher_decay };
    for (const [key, value] of Object.entries(given)) {
      if (value !== null) found.push([key as keyof typeof given, `expected nothing, since optim is ${optim}`]);
    }
    return found;
  }
  if (!vector)
    found.push(["optim", `expected adamw or sgd, since adapter is ${config.adapter}: natural trains v alone`]);
  if (config.num_iterations > 1) found.push(["num_iterations", "expected 1, since optim is natural"]);
  if (config.beta > 0) found.push(["beta", "expected 0, since optim is natural"]);
  return found;
}

/** It has no pass, so nothing of a loss but the advantages. */
function evolutionContradictions(config: TrainConfig, vector: boolean): [keyof TrainConfig, string][] {
  const { estimator } = config;
  const found: [keyof TrainConfig, string][] = [];
  if (estimator !== "evolution_strategies") {
    if (config.sigma !== null) found.push(["sigma", `expected nothing, since estimator is ${estimator}`]);
    return found;
  }
  const since = `since estimator is ${estimator}`;
  if (!vector)
    found.push(["estimator", `expected policy_gradient, since adapter is ${config.adapter}: v alone is perturbed`]);
  if (config.optim === "natural") found.push(["optim", `expected adamw or sgd, ${since}`]);
  if (config.num_iterations > 1) found.push(["num_iterations", `expected 1, ${since}`]);
  if (config.beta > 0) found.push(["beta", `expected 0, ${since}`]);
  if (config.num_generations % 2 === 1) {
    found.push(["num_generations", `expected an even number, ${since}: perturbations come in pairs`]);
  }
  return found;
}
