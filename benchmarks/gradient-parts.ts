/**
 * What it costs to tell the gradient of v apart: seconds of forward and backward passes over the same completions, for the
 * gradient as a whole, by problem, and by completion (then each has a prompt of its own), in turns.
 *
 *   npx tsx benchmarks/gradient-parts.ts --r 16 --target down_proj
 *
 *   --model PATH       embedded, a Hugging Face folder or a .gguf file (embedded)
 *   --r N, --u N       rank, and numbers that are trained (2, 13)
 *   --target NAME      the only module that is adapted, such as down_proj (all of them)
 *   --prompts N        problems (16)
 *   --generations N    completions of each (8)
 *   --prompt-tokens N  tokens of a prompt (60)
 *   --new-tokens N     tokens of a completion (50)
 *   --turns N          how often each is timed (15)
 *   --dtype bf16|fp32  number type of the weights (bf16)
 *   --threads N        compute threads (2)
 */
import { Adapter, Engine, findModel, MODULE_TYPES, type ModuleType } from "../lib/index.js";
import { packPasses, type Sequence } from "../lib/train/pass.js";
import type { Completion, Group } from "../lib/train/rollout.js";
import { readFlags } from "./flags.js";
import { median } from "./measurement.js";

const { values: options } = readFlags(
  {
    options: {
      model: { type: "string", default: "embedded" },
      dtype: { type: "string", default: "bf16" },
      threads: { type: "string", default: "2" },
      r: { type: "string", default: "2" },
      u: { type: "string", default: "13" },
      target: { type: "string" },
      prompts: { type: "string", default: "16" },
      generations: { type: "string", default: "8" },
      "prompt-tokens": { type: "string", default: "60" },
      "new-tokens": { type: "string", default: "50" },
      turns: { type: "string", default: "15" },
    },
  },
  { target: MODULE_TYPES },
);

const engine = await Engine.load(findModel(options.model), {
  dtype: options.dtype === "fp32" ? "fp32" : "bf16",
  threads: Number(options.threads),
});
const targets = options.target ? { targetModules: [options.target as ModuleType] } : {};
await engine.attach(Adapter.create(engine, { r: Number(options.r), u: Number(options.u), ...targets }));

const tokens = (count: number, seed: number) => Int32Array.from({ length: count }, (_, i) => 1 + ((7 * i + seed) % 50));
const sequences = Array.from({ length: Number(options.prompts) }, (_, g) => {
  const group = { prompt: tokens(Number(options["prompt-tokens"]), g) } as Group;
  return Array.from({ length: Number(options.generations) }, (_, i) => {
    const completion = { tokens: tokens(Number(options["new-tokens"]), g + i) } as Completion;
    return { group, completion, advantage: 1, masked: false, learns: true } satisfies Sequence;
  });
}).flat();

type Kind = "whole" | "by problem" | "by completion";
async function step(kind: Kind): Promise<number> {
  const packing = { tokenBudget: 2048, temperature: 1, slot: 0, ownPrompts: kind === "by completion" };
  const passes = packPasses(sequences, packing);
  const started = performance.now();
  engine.zeroGradients();
  for (const { batch, rows, parts } of passes) {
    await engine.forward({ ...batch, keep: true });
    const weights = new Float32Array(rows).fill(1);
    await (kind === "whole" ? engine.backward(weights) : engine.backwardParts(weights, parts, 0));
  }
  return (performance.now() - started) / 1000;
}

const kinds: Kind[] = ["whole", "by problem", "by completion"];
const seconds = new Map<Kind, number[]>(kinds.map((kind) => [kind, []]));
for (let turn = 0; turn <= Number(options.turns); turn++) {
  for (const kind of kinds) {
    const taken = await step(kind);
    if (turn > 0) seconds.get(kind)!.push(taken); // the first warms up
  }
}
const least = (kind: Kind) => Math.min(...seconds.get(kind)!);
console.log(`${engine.device}, ${options.model}, r ${options.r}, u ${options.u}, ${sequences.length} completions`);
console.log("               least      median     of the whole: least, median");
for (const kind of kinds) {
  const middle = median(seconds.get(kind)!);
  const share = [least(kind) / least("whole"), middle / median(seconds.get("whole")!)];
  console.log(
    `${kind.padEnd(14)} ${least(kind).toFixed(4)} s   ${middle.toFixed(4)} s   ${share.map((x) => x.toFixed(3)).join(", ")}`,
  );
}
engine.dispose();
