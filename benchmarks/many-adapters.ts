/**
 * What thousands of adapters cost that share a base model, 13 numbers each: the time and memory of attaching them, tokens per
 * second, and per second of CPU time, with one adapter for all prompts and with another one for each (rounds in turns;
 * medians), and the time until another adapter is in a slot while other slots are being sampled from, alone and as one of
 * many. Stops where a completion in the company of others differs from the same one sampled alone.
 *
 *   npx tsx benchmarks/many-adapters.ts
 *
 *   --model PATH       Hugging Face folder or .gguf file, or embedded (../shared/models/SmolLM2-135M-Instruct)
 *   --slots N,N,...    how many adapters to attach (1,100,1000,5000)
 *   --batch N          prompts side by side (64)
 *   --new-tokens N     tokens sampled for each prompt (64)
 *   --rounds N         rounds of sampling (5)
 *   --threads N        compute threads (2)
 */
import { Adapter, type Completion, Engine, findModel } from "../lib/index.js";
import { readFlags } from "./flags.js";
import { emit, median } from "./measurement.js";

const { values: options } = readFlags({
  options: {
    model: { type: "string", default: "../shared/models/SmolLM2-135M-Instruct" },
    slots: { type: "string", default: "1,100,1000,5000" },
    batch: { type: "string", default: "64" },
    "new-tokens": { type: "string", default: "64" },
    rounds: { type: "string", default: "5" },
    threads: { type: "string", default: "2" },
  },
});
/** Seconds of one round. */
interface Took {
  readonly wall: number;
  readonly cpu: number;
}

const batch = Number(options.batch);
const maxCompletionLength = Number(options["new-tokens"]);
const settings = { model: options.model, batch, new_tokens: maxCompletionLength };

const engine = await Engine.load(findModel(options.model), {
  threads: Number(options.threads),
  maxSequences: batch,
  cacheTokens: batch * (maxCompletionLength + 128),
});
const empty = Adapter.create(engine, { dtype: "bf16" });
const adapter = (k: number) => empty.withVector(empty.v.map((_, i) => 0.02 * Math.cos(i + 7 * k)));
const adapters = (count: number) => Array.from({ length: count }, (_, k) => adapter(k));
await engine.attach(empty); // the SVD is on the disk from here on

for (const count of options.slots.split(",").map(Number)) {
  const list = adapters(count);
  const before = process.memoryUsage.rss();
  emit("many_adapters/attach", "s", await seconds(() => engine.attach(list)), { ...settings, slots: count });
  emit("many_adapters/attach_rss", "MiB", (process.memoryUsage.rss() - before) / 2 ** 20, {
    ...settings,
    slots: count,
  });
}

await engine.attach(adapters(2 * batch));
const completions: Completion[][] = [];
const slotOf = { base: () => "base" as const, one: () => 0, each: (i: number) => i };
const rounds = { base: [] as Took[], one: [] as Took[], each: [] as Took[] };
await sample(slotOf.one); // warm-up
for (let round = 0; round < Number(options.rounds); round++) {
  for (const who of ["base", "one", "each"] as const) {
    const cpu = process.cpuUsage();
    const wall = await seconds(async () => completions.push(await sample(slotOf[who])));
    const { user, system } = process.cpuUsage(cpu);
    rounds[who].push({ wall, cpu: (user + system) / 1e6 });
  }
}
for (const [who, took] of Object.entries(rounds)) {
  const rate = (clock: keyof Took) => (batch * maxCompletionLength) / median(took.map((one) => one[clock]));
  emit("many_adapters/sampling", "tokens/s", rate("wall"), { ...settings, adapters: who });
  emit("many_adapters/sampling_cpu", "tokens/CPU s", rate("cpu"), { ...settings, adapters: who });
}
for (const i of [0, Math.floor(batch / 2), batch - 1]) checkSame(await one(i, i), completions.at(-1)![i]!);

const sampling = sample(slotOf.each);
const waits: number[] = [];
for (let k = 0; k < 20; k++) waits.push(await seconds(() => engine.replace(batch + k, adapter(k))));
emit("many_adapters/replace", "s", median(waits), { ...settings, at_once: 1 });
const burst = () => Promise.all(Array.from({ length: batch }, (_, k) => engine.replace(batch + k, adapter(9 * k))));
emit("many_adapters/replace", "s", await seconds(burst), { ...settings, at_once: batch });
for (const [i, completion] of (await sampling).entries()) checkSame(completion, completions.at(-1)![i]!);
engine.dispose();

async function seconds(work: () => PromiseLike<unknown>): Promise<number> {
  const start = performance.now();
  await work();
  return (performance.now() - start) / 1e3;
}

function sample(slot: (i: number) => number | "base"): Promise<Completion[]> {
  return Promise.all(Array.from({ length: batch }, (_, i) => one(i, slot(i))));
}

async function one(i: number, slot: number | "base"): Promise<Completion> {
  const content = `Tom has ${i} apples and buys ${3 * i} more. How many apples does he have now?`;
  const how = { adapter: slot, seed: i, maxCompletionLength, stopTokens: [] };
  const [completion] = await engine.generate([[{ role: "user", content }]], how);
  return completion!;
}

function checkSame(found: Completion, expected: Completion): void {
  const same = found.logprobs.every((x, i) => x === expected.logprobs[i] && found.tokens[i] === expected.tokens[i]);
  if (!same) throw new Error(`expected ${expected.text}, found ${found.text}`);
}
