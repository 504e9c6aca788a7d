/** Options of TRL's GRPOConfig that are asked for by other names here, or need none. */
const TRL_NAMES: Readonly<Record<string, string>> = {
  output_dir: "--run, or run of a trainer, is the folder",
  run_name: "--run, or run of a trainer, is the folder",
  resume_from_checkpoint: "--resume, or resume of a trainer, goes on with a run",
  num_train_epochs: "max_steps says how long a run is",
  per_device_train_batch_size: "a step has num_prompts x num_generations completions, a pass token_budget rows",
  generation_batch_size: "a step has num_prompts x num_generations completions",
  gradient_accumulation_steps: "a step is cut into passes of token_budget rows",
  steps_per_generation: "num_iterations says how many updates a batch makes",
  max_prompt_length: "prompts are never cut",
  warmup_ratio: "warmup_steps",
  eval_strategy: "eval_steps",
  save_strategy: "save_steps",
  logging_steps: "metrics.jsonl has every step",
  log_completions: "a run keeps all completions",
  bf16: "dtype",
  fp16: "dtype",
  reward_funcs: "rewards",
  dataset_name: "data",
  model_name_or_path: "model",
  lora_r: "r",
  lora_target_modules: "target_modules",
};

/** What a message says of such an option; undefined of any other name. */
export function inPlaceOf(name: string): string | undefined {
  return Object.hasOwn(TRL_NAMES, name) ? `here ${TRL_NAMES[name]}` : undefined;
}
