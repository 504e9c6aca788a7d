/**
 * All evidence on the CUDA kernels that needs no GPU, in one command. Needs nvcc.
 *
 *   npx tsx benchmarks/cuda/counters.ts
 *
 *   --models A,B,...   shapes of these models (smollm2-135m,qwen2.5-0.5b,qwen2.5-1.5b,qwen2.5-7b)
 *   --rows N,N,...     rows of a pass (1,512)
 *   --rank N           rank of the update (2)
 *
 * It tells what the kernels do on layers of real shapes, counted by the stand-in for the driver as an A100 and as an H100;
 * what that comes to on a GPU (estimate.ts, estimate-wgmma.ts), for the head (head-time.ts) and in a GRPO step of one run and of 16
 * (estimate-population.ts); what ptxas makes of every kernel (registers.mjs); and how fast the stand-in is on this machine.
 * It writes benchmarks/cuda/counters.json, and the tables of docs/performance.md between its markers.
 *
 * Of each launch two blocks along each axis of the grid run, the last and a middle one; the middle one stands for all others.
 * Attention forward runs whole.
 */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { counterRows } from "../../bin/counters.js";
import { MODELS } from "../../bin/shapes.js";
import { LARGEST_RANK } from "../../lib/adapter/spec.js";
import { byClass, fusionCost, type Launch, type LayerCounts, type ProductCounts, total } from "../../lib/index.js";
import { readFlags, refuse } from "../flags.js";
import { withAllTiles } from "./all-tiles.js";
import { GPUS } from "./estimate.js";
import { headTable } from "./head-table.js";
import { type Counted, countAs, countCubeAs } from "./layer-counts.js";
import { countSteps } from "./population-counts.js";
import { populationTable } from "./population-table.js";
import { attentionMore, productTime, residents, timeWithInputs } from "./product-time.js";
// @ts-expect-error plain JavaScript
import { measure } from "./registers.mjs";
import { standInTimes } from "./stand-in.js";
import { type Kernel, tables } from "./tables.js";

const { values: options } = readFlags({
  options: {
    models: { type: "string", default: "smollm2-135m,qwen2.5-0.5b,qwen2.5-1.5b,qwen2.5-7b" },
    rows: { type: "string", default: "1,512" },
    rank: { type: "string", default: "2" },
  },
});
const rank = Number(options.rank);
if (rank > LARGEST_RANK) refuse(`--rank: expected at most ${LARGEST_RANK}, found ${rank}`);
const models = options.models.split(",");
const unknown = models.find((name) => !(name in MODELS));
if (unknown !== undefined) refuse(`--models: expected names of ${Object.keys(MODELS).join(", ")}, found ${unknown}`);
const wanted = {
  models: Object.fromEntries(models.map((name) => [name, MODELS[name]!])),
  rows: options.rows.split(",").map(Number),
  rank,
};
const root = join(import.meta.dirname, "../..");

const kernels: Kernel[] = measure();
const standIn = await standInTimes();
const blocks = residents(kernels);
const counts = { sm_80: countAs(80, wanted), sm_90a: countAs(90, wanted) };
const steps = { sm_80: countSteps(80, models), sm_90a: countSteps(90, models) };
const cubes = { sm_80: countCubeAs(80, rank), sm_90a: countCubeAs(90, rank) };
const results = counts.sm_80.map((_, i) => summary(i));
const cube = cubeShares();
const file = join(import.meta.dirname, "counters.json");
const sample = "a middle block and the last along each axis";
writeFileSync(file, `${JSON.stringify({ sample, results, cube, kernels, standIn }, null, 1)}\n`);
writeTables("counters", tables(results, cube, kernels, standIn));
writeTables("head", [headTable(steps, blocks)]);
writeTables("populations", [populationTable(steps, blocks)]);

export type Summary = ReturnType<typeof summary>;
export type CubeShare = ReturnType<typeof cubeShares>[number];

/** Counters of the kernels of sm_80, what fusion adds and times of those that each GPU runs. */
function summary(index: number) {
  const { model, rows, plain, fused } = counts.sm_80[index]!;
  return {
    ...{ model, rows, rank },
    products: counterRows(rows, plain, fused),
    parts: { plain: partsOf(plain), fused: partsOf(fused) },
    fusion: { sm_80: fusionOf(counts.sm_80[index]!), sm_90a: fusionOf(counts.sm_90a[index]!) },
    estimates: GPUS.map((gpu) => {
      const own = counts[gpu.architecture][index]!;
      const time = (list: readonly ProductCounts[], beside = 0) => {
        const times = list.map((one) => timeWithInputs(gpu, one, rows, blocks));
        const seconds = times.reduce((sum, one) => sum + one.seconds, beside);
        return { seconds, limits: times.map(({ limit }) => limit) };
      };
      return {
        gpu: gpu.name,
        forward: time(own.fused.forward, attentionMore(gpu, own)),
        backward: time(own.fused.backward),
        plainForward: time(own.plain.forward),
        plainBackward: time(own.plain.backward),
      };
    }),
  };
}

function fusionOf({ rows, plain, fused }: Counted) {
  const [less, more] = [withAllTiles(plain, rows), withAllTiles(fused, rows)];
  return { forward: fusionCost("forward", less, more), backward: fusionCost("backward", less, more) };
}

/** The kernels of a layer, the head and the sampler, by what they are for. */
function partsOf(counts: LayerCounts) {
  const before = (list: readonly ProductCounts[]) => list.flatMap((one) => one.before);
  const list: [string, readonly Launch[]][] = [
    ["products forward", counts.forward.map(({ product }) => product)],
    ["products backward", counts.backward.map(({ product }) => product)],
    ["norms, rope, swiglu, z forward", before(counts.forward)],
    ["the same backward", before(counts.backward)],
    ["attention forward", counts.attention],
    ["attention backward", counts.attentionBackward],
    ["attention decode", counts.decodeAttention],
    ["head", counts.head],
    ["head backward", counts.headBackward],
    ["sampling", counts.sample],
  ];
  return list.map(([name, launches]) => ({ name, ...total(launches), classes: byClass(launches) }));
}

function cubeShares() {
  return GPUS.flatMap((gpu) =>
    (["forward", "backward"] as const).map((pass) => {
      const { plain, fused, rows } = cubes[gpu.architecture];
      const pick = (of: LayerCounts) => of[pass].find(({ modules }) => modules === "o")!;
      const { seconds, limit } = productTime(gpu, pick(plain), rows, blocks);
      const peak = 2 * gpu.tensor * gpu.multiprocessors * gpu.hertz;
      const time = (of: LayerCounts) => timeWithInputs(gpu, pick(of), rows, blocks).seconds;
      return {
        ...{ gpu: gpu.name, pass, kernel: pick(plain).product.kernel, seconds, limit },
        share: (2 * rows ** 3) / seconds / peak,
        fusion: (time(fused) + (pass === "forward" ? attentionMore(gpu, { plain, fused }) : 0)) / time(plain) - 1,
      };
    }),
  );
}

function writeTables(name: string, text: readonly string[]): void {
  const page = join(root, "docs/performance.md");
  const before = readFileSync(page, "utf8");
  const [begin, end] = [`<!-- ${name}: written by benchmarks/cuda/counters.ts -->`, `<!-- /${name} -->`];
  const [from, to] = [before.indexOf(begin) + begin.length, before.indexOf(end)];
  if (from < begin.length || to < from) throw new Error(`${page}: expected the markers ${begin} and ${end}`);
  writeFileSync(page, `${before.slice(0, from)}\n\n${text.join("\n\n")}\n\n${before.slice(to)}`);
}
