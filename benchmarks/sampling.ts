/**
 * How many tokens per second sampling makes, for several GSM8K prompts side by side: temperature 1, the whole vocabulary,
 * exactly --new-tokens tokens a sequence (nothing stops one). The counterpart of the peers' generate_hf.py. Prints
 * measurements: prefill (the first token of each prompt), decode (the others), whole (both), and the peak of memory.
 *
 *   npx tsx benchmarks/sampling.ts --batches 64
 *
 *   --model PATH       Hugging Face folder or .gguf file (../shared/models/SmolLM2-135M-Instruct)
 *   --data FILE        JSONL with a "question" a line (../shared/data/gsm8k/train.jsonl)
 *   --batches N,N,...  how many prompts at a time (1,8,64)
 *   --new-tokens N     tokens sampled for each prompt (128)
 *   --adapter NAME     tinylora: with 13 numbers attached; none: the model alone (tinylora)
 *   --repeats N        measure each this often and take the median (1)
 *   --dtype bf16|fp32  number type of the weights (bf16)
 *   --threads N        compute threads (2)
 */
import { readFileSync } from "node:fs";
import { Adapter, Engine } from "../lib/index.js";
import { readFlags } from "./flags.js";
import { emit, median, peakRssMib } from "./measurement.js";

const { values: options } = readFlags(
  {
    options: {
      model: { type: "string", default: "../shared/models/SmolLM2-135M-Instruct" },
      data: { type: "string", default: "../shared/data/gsm8k/train.jsonl" },
      dtype: { type: "string", default: "bf16" },
      threads: { type: "string", default: "2" },
      batches: { type: "string", default: "1,8,64" },
      "new-tokens": { type: "string", default: "128" },
      repeats: { type: "string", default: "1" },
      adapter: { type: "string", default: "tinylora" },
    },
  },
  { adapter: ["tinylora", "none"] },
);
const newTokens = Number(options["new-tokens"]);
const batches = options.batches.split(",").map(Number);
const largest = Math.max(...batches);

const engine = await Engine.load(options.model, {
  dtype: options.dtype === "fp32" ? "fp32" : "bf16",
  threads: Number(options.threads),
  maxSequences: largest,
  cacheTokens: largest * (newTokens + 512),
});
if (options.adapter === "tinylora") {
  const adapter = Adapter.create(engine, { r: 2, u: 13, tying: { kind: "all" } });
  await engine.attach(adapter.withVector(adapter.v.map((_, i) => 0.02 * Math.cos(i))));
}

const questions = readFileSync(options.data, "utf8")
  .split("\n", largest)
  .map((line) => (JSON.parse(line) as { question: string }).question);

for (const batch of batches) {
  await seconds(batch, 4); // warm-up
  const prefill = median(await repeated(() => seconds(batch, 1)));
  const whole = median(await repeated(() => seconds(batch, newTokens)));
  const settings = { dtype: options.dtype, adapter: options.adapter, batch, new_tokens: newTokens };
  emit("generate/prefill", "s", prefill, settings);
  emit("generate/whole", "tokens/s", (batch * newTokens) / whole, settings);
  emit("generate/decode", "tokens/s", (batch * (newTokens - 1)) / (whole - prefill), settings);
}
emit("generate/peak_rss", "MiB", peakRssMib(), { dtype: options.dtype, batches: options.batches });
engine.dispose();

async function repeated(measure: () => Promise<number>): Promise<number[]> {
  const samples: number[] = [];
  for (let i = 0; i < Number(options.repeats); i++) samples.push(await measure());
  return samples;
}

/** Seconds of sampling `count` tokens for each of the first `batch` questions. */
async function seconds(batch: number, count: number): Promise<number> {
  const prompts = questions.slice(0, batch).map((question) => [{ role: "user" as const, content: question }]);
  const start = performance.now();
  const completions = await engine.generate(prompts, { maxCompletionLength: count, temperature: 1, stopTokens: [] });
  for (const { tokens } of completions) {
    if (tokens.length !== count) throw new Error(`expected ${count} tokens, got ${tokens.length}`);
  }
  return (performance.now() - start) / 1e3;
}
