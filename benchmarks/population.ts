/**
 * Is a population faster than its runs one after another? Steps a second of --members runs that differ in seed, learning rate
 * and projection seed: one after another, and side by side on the same engine, in turns. Checks that both end at the same v,
 * bit for bit. Prints measurements; population/ratio is the time of the first way over that of the second.
 *
 *   npx tsx benchmarks/population.ts                 no run folders
 *   npx tsx benchmarks/population.ts --runs          run folders with a checkpoint every step, as a sweep writes them
 *   npx tsx benchmarks/population.ts --model MODEL --data gsm8k --members 8 --steps 1 --new-tokens 64
 *
 *   --model PATH       embedded, a Hugging Face folder or a .gguf file (embedded)
 *   --data NAME        data set (embedded)
 *   --members N        runs (16)
 *   --steps N          steps of each (10)
 *   --prompts N        problems in a step (4)
 *   --generations N    completions of each (4)
 *   --new-tokens N     tokens of a completion at most (64)
 *   --shots N          worked examples before each problem (0)
 *   --max-sequences N  sequences sampled side by side at most (64)
 *   --rounds N         how often both ways are timed (3)
 *   --dtype bf16|fp32  number type of the weights (bf16)
 *   --threads N        compute threads (2)
 */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Adapter, Engine, findModel, GrpoTrainer, Population, type TrainablePolicy } from "../lib/index.js";
import { readFlags } from "./flags.js";
import { emit, median, peakRssMib } from "./measurement.js";

const { values: options } = readFlags({
  options: {
    model: { type: "string", default: "embedded" },
    data: { type: "string", default: "embedded" },
    dtype: { type: "string", default: "bf16" },
    threads: { type: "string", default: "2" },
    members: { type: "string", default: "16" },
    prompts: { type: "string", default: "4" },
    generations: { type: "string", default: "4" },
    "new-tokens": { type: "string", default: "64" },
    shots: { type: "string", default: "0" },
    steps: { type: "string", default: "10" },
    rounds: { type: "string", default: "3" },
    "max-sequences": { type: "string", default: "64" },
    runs: { type: "boolean", default: false },
  },
});
const members = Number(options.members);
const steps = Number(options.steps);
const maxSequences = Number(options["max-sequences"]);

const engine = await Engine.load(findModel(options.model), {
  dtype: options.dtype === "fp32" ? "fp32" : "bf16",
  threads: Number(options.threads),
  maxSequences,
  cacheTokens: maxSequences * 512,
});
const adapters = Array.from({ length: members }, (_, i) =>
  Adapter.create(engine, { projection: { seed: i, distribution: "normal" } }),
);

/** Seconds and tokens of its steps, and the v that it ends with. */
async function train(policy: TrainablePolicy, member: number, folder: string | undefined, count = steps) {
  const trainer = new GrpoTrainer({
    engine: policy,
    adapter: adapters[member]!,
    config: {
      data: options.data,
      shots: Number(options.shots),
      rewards: ["digits"],
      num_prompts: Number(options.prompts),
      num_generations: Number(options.generations),
      max_completion_length: Number(options["new-tokens"]),
      learning_rate: 1e-3 * (1 + member),
      seed: member,
      max_steps: count,
      eval_steps: 0,
    },
    ...(folder === undefined ? {} : { run: join(folder, String(member)) }),
  });
  let tokens = 0;
  const { adapter } = await trainer.train({
    onStep: ({ metrics }) => {
      tokens = metrics.num_tokens!;
    },
  });
  return { tokens, v: adapter.v };
}

async function alone(folder: string | undefined) {
  const results = [];
  for (let member = 0; member < members; member++) results.push(await train(engine, member, folder));
  return results;
}

async function together(folder: string | undefined) {
  const policies = await Population.attach(engine, adapters);
  return Promise.all(policies.map((policy, member) => train(policy, member, folder).finally(() => policy.leave())));
}

async function timed(run: typeof alone) {
  const folder = options.runs ? await mkdtemp(join(tmpdir(), "tinylora-population-")) : undefined;
  const start = performance.now();
  const results = await run(folder);
  const seconds = (performance.now() - start) / 1000;
  if (folder !== undefined) await rm(folder, { recursive: true });
  return { seconds, tokens: results.reduce((sum, { tokens }) => sum + tokens, 0), v: results.map(({ v }) => v) };
}

await train(engine, 0, undefined, 1); // what is done once: tokenizer, SVD, compiling
const ratios: number[] = [];
for (let round = 0; round < Number(options.rounds); round++) {
  const [sequential, population] = [await timed(alone), await timed(together)];
  for (const [member, v] of sequential.v.entries()) {
    if (Buffer.compare(Buffer.from(v.buffer), Buffer.from(population.v[member]!.buffer)) !== 0) {
      throw new Error(`member ${member}: expected the v of the run alone, found another`);
    }
  }
  for (const [name, { seconds, tokens }] of Object.entries({ sequential, population })) {
    emit(`population/${name}/steps`, "steps/s", (members * steps) / seconds, options);
    emit(`population/${name}/tokens`, "tokens/s", tokens / seconds, options);
  }
  ratios.push(sequential.seconds / population.seconds);
}
emit("population/ratio", "x", median(ratios), { ...options, ratios });
emit("population/peak_rss", "MiB", peakRssMib(), options);
engine.dispose();
