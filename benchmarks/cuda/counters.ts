/**
 * What the CUDA kernels do on layers of real shapes, counted by the stand-in for the driver, and what that comes to on a
 * GPU by estimate.ts: npx tsx benchmarks/cuda/counters.ts [--models a,b] [--rows 1,512] [--registers FILE]
 * Writes benchmarks/cuda/counters.json and the tables of docs/performance.md between its markers. Needs nvcc, no GPU.
 * Of each launch two blocks along each axis of the grid run, the last and a middle one; the middle one stands for all
 * others. --registers: the JSON of registers.mjs, for another table between the markers.
 */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { counterRows } from "../../bin/counters.js";
import { MODELS } from "../../bin/shapes.js";
import {
  byClass,
  CountedModel,
  type Launch,
  type LayerCounts,
  type ProductCounts,
  startCounting,
  total,
} from "../../lib/index.js";
import { type Estimate, estimate, GPUS } from "./estimate.js";
// @ts-expect-error plain JavaScript
import { measure } from "./registers.mjs";

const { values: options } = parseArgs({
  options: {
    models: { type: "string", default: "smollm2-135m,qwen2.5-0.5b,qwen2.5-1.5b,qwen2.5-7b" },
    rows: { type: "string", default: "1,512" },
    rank: { type: "string", default: "2" },
    registers: { type: "string" },
  },
});
const rank = Number(options.rank);
const rows = options.rows.split(",").map(Number);
const root = join(import.meta.dirname, "../..");
const products: { name: string; architecture: string; blocks: number }[] = measure(
  ["sm_80", "sm_90a"],
  ["product_half.cu"],
);

startCounting();
const results: Awaited<ReturnType<typeof countRows>>[] = [];
for (const name of options.models.split(",")) {
  using model = await CountedModel.load(MODELS[name]!);
  for (const count of rows) results.push(await countRows(name, model, count));
}
const cube = await cubeShares();
writeFileSync(
  join(import.meta.dirname, "counters.json"),
  `${JSON.stringify({ sample: "a middle block and the last along each axis", results, cube }, null, 1)}\n`,
);
writeTables();

async function countRows(name: string, model: CountedModel, count: number) {
  const [plain, fused] = [await model.count(count, 0), await model.count(count, rank)];
  const time = (gpu: (typeof GPUS)[number], list: readonly ProductCounts[]) =>
    sumOf(list.map((one) => timeOf(gpu, one, count)));
  return {
    ...{ model: name, rows: count, rank },
    products: counterRows(count, plain, fused),
    parts: { plain: partsOf(plain), fused: partsOf(fused) },
    estimates: GPUS.map((gpu) => ({
      gpu: gpu.name,
      forward: time(gpu, fused.forward),
      backward: time(gpu, fused.backward),
      plainForward: time(gpu, plain.forward),
      plainBackward: time(gpu, plain.backward),
    })),
  };
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

/** Of a product with what comes before it. */
function timeOf(gpu: (typeof GPUS)[number], { product, before, outs, in: k }: ProductCounts, count: number): Estimate {
  const out = outs.reduce((sum, one) => sum + one, 0);
  const resident = (name: string) =>
    products.find((one) => one.name === name && one.architecture === gpu.architecture)?.blocks ?? 8;
  const bytes = 2 * out * k + 2 * count * k + 4 * count * out;
  const main = estimate(gpu, product, bytes, k / 16, resident(product.kernel));
  const others = before.map((one) => estimate(gpu, one, 0, 0, 8).seconds);
  return { seconds: main.seconds + others.reduce((sum, one) => sum + one, 0), limit: main.limit };
}

function sumOf(list: readonly Estimate[]) {
  return { seconds: list.reduce((sum, one) => sum + one.seconds, 0), limits: list.map(({ limit }) => limit) };
}

/** o of Llama-3.1-8B with 4096 rows: a product of 4096 cubed. */
async function cubeShares() {
  using model = await CountedModel.load({ ...MODELS["llama-3.1-8b"]!, vocab: 512, intermediate: 256 });
  const [plain, fused] = [await model.count(4096, 0), await model.count(4096, rank)];
  return GPUS.flatMap((gpu) =>
    (["forward", "backward"] as const).map((pass) => {
      const pick = (counts: LayerCounts) => counts[pass].find(({ modules }) => modules === "o")!;
      const bare = { ...pick(plain), before: [] };
      const { seconds, limit } = timeOf(gpu, bare, 4096);
      const peak = 2 * gpu.tensor * gpu.multiprocessors * gpu.hertz;
      const with_ = (counts: LayerCounts) => timeOf(gpu, pick(counts), 4096).seconds;
      return {
        gpu: gpu.name,
        pass,
        kernel: bare.product.kernel,
        seconds,
        limit,
        share: (2 * 4096 ** 3) / seconds / peak,
        fusion: with_(fused) / with_(plain) - 1,
      };
    }),
  );
}

function writeTables(): void {
  const file = join(root, "docs/performance.md");
  const text = readFileSync(file, "utf8");
  const [begin, end] = ["<!-- counters: written by benchmarks/cuda/counters.ts -->", "<!-- /counters -->"];
  const [from, to] = [text.indexOf(begin) + begin.length, text.indexOf(end)];
  if (from < begin.length || to < from) throw new Error(`${file}: expected the markers ${begin} and ${end}`);
  const tables = [
    layerTable(),
    partsTable(),
    estimateTable(),
    cubeTable(),
    ...(options.registers ? [registersTable()] : []),
  ];
  writeFileSync(file, `${text.slice(0, from)}\n\n${tables.join("\n\n")}\n\n${text.slice(to)}`);
}

function markdown(head: readonly string[], lines: readonly (readonly (string | number)[])[]): string {
  const row = (cells: readonly (string | number)[]) => `| ${cells.join(" | ")} |`;
  return [row(head), row(head.map(() => "---")), ...lines.map(row)].join("\n");
}

function more(share: number): string {
  return `${share >= 0 ? "+" : ""}${(100 * share).toFixed(1)} %`;
}

/** Plain products of a layer, and what fusion adds to them and to what makes their inputs. */
function layerTable(): string {
  const lines = results.flatMap(({ model, rows: count, products: list, parts }) =>
    (["forward", "backward"] as const).map((pass) => {
      const own = list.filter((one) => one.pass === pass);
      const [product, others] = pass === "forward" ? [0, 2] : [1, 3];
      const sum = (of: (typeof parts)["plain"], key: "instructions" | "sectors" | "launches") =>
        of[product]![key] + of[others]![key];
      const gain = (key: "instructions" | "sectors") => sum(parts.fused, key) / sum(parts.plain, key) - 1;
      const plain = parts.plain[product]!;
      const least = own.reduce((all, one) => all + (count * one.out * one.in) / 2048, 0);
      return [
        ...[model, pass, count, `${(plain.instructions / 1e6).toFixed(1)} M`, (plain.mma / least).toFixed(2)],
        ...[(plain.wavefronts / plain.idealWavefronts).toFixed(2), (32e-6 * plain.sectors).toFixed(0), plain.barriers],
        ...[
          more(gain("instructions")),
          more(gain("sectors")),
          sum(parts.plain, "launches"),
          `+${sum(parts.fused, "launches") - sum(parts.plain, "launches")}`,
        ],
      ];
    }),
  );
  return markdown(
    [
      "one layer",
      "pass",
      "rows",
      "warp instructions",
      "mma / (M N K / 2048)",
      "shared passes / ideal",
      "MB asked of L2",
      "barriers",
      "fusion: instructions",
      "bytes",
      "launches plain",
      "fused",
    ],
    lines,
  );
}

function partsTable(): string {
  const { model, rows: count, parts } = results.findLast(({ rows: many }) => many === Math.max(...rows))!;
  const lines = parts.fused.map(({ name, launches, instructions, wavefronts, idealWavefronts, sectors, classes }) => {
    const share = (of: string) => `${((100 * (classes[of] ?? 0)) / instructions).toFixed(0)} %`;
    const conflicts = idealWavefronts > 0 ? (wavefronts / idealWavefronts).toFixed(2) : "-";
    return [
      name,
      launches,
      `${(instructions / 1e6).toFixed(2)} M`,
      ...["tensor", "shared memory", "asynchronous copies", "global memory", "floating point"].map(share),
      conflicts,
      (32e-6 * sectors).toFixed(1),
    ];
  });
  return markdown(
    [
      `${model}, ${count} rows, rank ${rank}`,
      "launches",
      "warp instructions",
      "tensor",
      "shared",
      "async copies",
      "global",
      "float",
      "shared passes / ideal",
      "MB asked of L2",
    ],
    lines,
  );
}

function estimateTable(): string {
  const us = (seconds: number) => (1e6 * seconds).toFixed(0);
  const lines = results.flatMap(({ model, rows: count, estimates }) =>
    (["forward", "backward"] as const).map((pass) => [
      ...[model, pass, count],
      ...estimates.flatMap((one) => {
        const plain = pass === "forward" ? one.plainForward : one.plainBackward;
        return [us(one[pass].seconds), more(one[pass].seconds / plain.seconds - 1)];
      }),
    ]),
  );
  return markdown(
    ["estimated products of one layer", "pass", "rows", ...GPUS.flatMap(({ name }) => [`${name}, us`, "fusion"])],
    lines,
  );
}

function cubeTable(): string {
  const lines = cube.map(({ gpu, pass, kernel, share, limit, fusion }) => [
    gpu,
    pass,
    kernel,
    `${(100 * share).toFixed(0)} %`,
    limit,
    more(fusion),
  ]);
  return markdown(["estimated, 4096 cubed", "pass", "kernel", "of peak", "limit", "fusion"], lines);
}

function registersTable(): string {
  interface Kernel {
    name: string;
    architecture: string;
    registers: number;
    spills: number;
    shared: number;
    blocks: number;
    warps: number;
  }
  const kernels = JSON.parse(readFileSync(options.registers!, "utf8")) as Kernel[];
  const names = [...new Set(kernels.map(({ name }) => name))];
  const architectures = [...new Set(kernels.map(({ architecture }) => architecture))];
  const cell = (name: string, architecture: string) => {
    const found = kernels.find((one) => one.name === name && one.architecture === architecture);
    return found ? `${found.registers} / ${found.spills} / ${found.shared} / ${found.blocks} (${found.warps})` : "-";
  };
  return markdown(
    ["registers / spilled bytes / shared bytes / blocks (warps) an SM", ...architectures],
    names.map((name) => [name, ...architectures.map((one) => cell(name, one))]),
  );
}
