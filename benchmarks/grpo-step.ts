/**
 * How many seconds a GRPO step with 13 numbers on GSM8K takes: --prompts problems, --generations completions of exactly
 * --new-tokens tokens each, rewarded by their share of digits, one update. The counterpart of the peers' grpo_trl.py. Prints
 * measurements: the step, its sampling, its training (the rest), the peak of memory, and the largest difference between the
 * log-probabilities of sampler and trainer.
 *
 *   npx tsx benchmarks/grpo-step.ts --prompts 4 --generations 8 --new-tokens 128
 *
 *   --model PATH       Hugging Face folder or .gguf file (../shared/models/SmolLM2-135M-Instruct)
 *   --prompts N        problems in a step (4)
 *   --generations N    completions of each (8)
 *   --new-tokens N     tokens of each completion (128)
 *   --gradient-checkpointing  less memory, more time
 *   --keep-activations  more memory, less time
 *   --steps N          steps; the first warms up, and the median of the others is printed (3)
 *   --dtype bf16|fp32  number type of the weights (bf16)
 *   --threads N        compute threads (2)
 */
import { Adapter, Engine, GrpoTrainer, type StepReport, type TrainablePolicy } from "../lib/index.js";
import { readFlags } from "./flags.js";
import { emit, median, peakRssMib } from "./measurement.js";

const { values: options } = readFlags({
  options: {
    model: { type: "string", default: "../shared/models/SmolLM2-135M-Instruct" },
    dtype: { type: "string", default: "bf16" },
    threads: { type: "string", default: "2" },
    prompts: { type: "string", default: "4" },
    generations: { type: "string", default: "8" },
    "new-tokens": { type: "string", default: "128" },
    "gradient-checkpointing": { type: "boolean", default: false },
    "keep-activations": { type: "boolean", default: false },
    steps: { type: "string", default: "3" },
  },
});
const sequences = Number(options.prompts) * Number(options.generations);
const newTokens = Number(options["new-tokens"]);

const engine = await Engine.load(options.model, {
  dtype: options.dtype === "fp32" ? "fp32" : "bf16",
  threads: Number(options.threads),
  maxSequences: sequences,
  cacheTokens: sequences * (newTokens + 512),
});
const adapter = Adapter.create(engine, { r: 2, u: 13, tying: { kind: "all" } });
/** The engine, but nothing stops a completion early: the work is the same for whoever is compared. */
const unstopped: TrainablePolicy = {
  device: engine.device,
  model: engine.model,
  tokenizer: engine.tokenizer,
  cacheTokens: engine.cacheTokens,
  memory: () => engine.memory(),
  attach: (attached, passOptions) => engine.attach(attached, passOptions),
  setVector: (slot, v) => engine.setVector(slot, v),
  submit: (request, onEvent) => engine.submit({ ...request, stopTokens: new Int32Array(0), stopStrings: [] }, onEvent),
  forward: (batch, signal) => engine.forward(batch, signal),
  backward: (dLogprobs, signal) => engine.backward(dLogprobs, signal),
  backwardParts: (dLogprobs, parts, slot, signal) => engine.backwardParts(dLogprobs, parts, slot, signal),
  gradient: (slot) => engine.gradient(slot),
  zeroGradients: () => engine.zeroGradients(),
};
const trainer = new GrpoTrainer({
  engine: unstopped,
  adapter,
  config: {
    data: "gsm8k",
    shots: 0,
    rewards: ["digits"],
    num_prompts: Number(options.prompts),
    num_generations: Number(options.generations),
    max_completion_length: newTokens,
    token_budget: Math.max(2048, newTokens + 512),
    gradient_checkpointing: options["gradient-checkpointing"],
    keep_activations: options["keep-activations"],
    learning_rate: 1e-3,
    max_steps: Number(options.steps),
    eval_steps: 0,
  },
});
const reports: StepReport[] = [];
await trainer.train({ onStep: (report) => void reports.push(report) });

const counted = reports.slice(Math.min(1, reports.length - 1)); // the first also warms up
const seconds = (key: "step_time" | "seconds/sampling") => median(counted.map(({ measured }) => Number(measured[key])));
const settings = {
  dtype: options.dtype,
  prompts: options.prompts,
  generations: options.generations,
  new_tokens: newTokens,
};
emit("grpo/step", "s", seconds("step_time"), settings);
emit("grpo/sampling", "s", seconds("seconds/sampling"), settings);
emit("grpo/training", "s", seconds("step_time") - seconds("seconds/sampling"), settings);
emit("grpo/peak_rss", "MiB", peakRssMib(), settings);
emit(
  "grpo/logprob_mismatch_max",
  "nat",
  Math.max(...reports.map(({ metrics }) => Number(metrics["sampling/max_abs_dlogp"]))),
  settings,
);
engine.dispose();
