// No kernel may spill registers, each leaves room for a second block on a multiprocessor of sm_80, and fits where a block
// may have least. Needs nvcc, no GPU; left out without nvcc.
import { beforeAll, describe, expect, it } from "vitest";
// @ts-expect-error plain JavaScript
import { launchShapes, measure, occupancy } from "../../benchmarks/cuda/registers.mjs";
import { CountedModel, startCounting } from "../../lib/index.js";
import { cudasimTitle, hasCudasim } from "../cudasim/build.js";

interface Kernel {
  file: string;
  name: string;
  registers: number;
  spills: number;
  threads: number;
  /** Bytes of a block, but for what launches alone know of. */
  shared: number;
  /** Whether launches choose some of it. */
  dynamic: boolean;
  blocks: number;
}

const MAX_RANK = 16;
/** What the head's product keeps beside 128 rows of a tile: ratio_bytes of head_sm90.h. */
const RATIO_BYTES = 128 * 68 + 16;
/** What a block of sm_86, sm_89, sm_120 and sm_121 may have of shared memory. */
const LEAST_SHARED = 99 * 1024;
const tiles: Map<string, { rows: number; columns: number }> = launchShapes();

/** What products keep of factors beside their tiles, at most. */
function factorBytes(kernel: string): number {
  const tile = tiles.get(kernel);
  return tile ? 4 * MAX_RANK * (tile.rows + tile.columns) : 0;
}

/** Bytes of shared memory of a block of attention and the head as launched, by kernel, in small models of all kinds. */
async function launchedShared(): Promise<Map<string, number>> {
  const bytes = new Map<string, number>();
  startCounting();
  for (const dtype of ["bf16", "fp16", "fp32"] as const) {
    // A wide one has a tile of the head's product for each multiprocessor: the larger ones are taken.
    for (const [headDim, hidden] of [...[32, 64, 128, 256].map((dim) => [dim, 64] as const), [32, 14_000] as const]) {
      const size = { vocab: 512, hidden, intermediate: 128, heads: 2, kvHeads: 1, headDim };
      using model = await CountedModel.load({ family: "qwen2", ...size }, dtype);
      const passes = [await model.count(1, 1), await model.count(80, 1)];
      const decodes = [...passes, await model.countDecode(4, 256, 1)];
      const launches = [
        ...passes.flatMap((pass) => [pass.attention, pass.attentionBackward, pass.head, pass.headBackward]),
        ...decodes.flatMap((pass) => [pass.decodeAttention, pass.sample]),
      ];
      for (const { kernel, sharedBytes } of launches.flat()) {
        bytes.set(kernel, Math.max(sharedBytes, bytes.get(kernel) ?? 0));
      }
    }
  }
  // Launched where the head's own weights are trained, with the tiles of the statistics.
  bytes.set("head_gradient_f32", bytes.get("head_stats_f32")!);
  for (const type of ["bf16", "f16"]) bytes.set(`head_gradient_${type}`, bytes.get(`head_stats_many_${type}`)!);
  return bytes;
}

describe.skipIf(!hasCudasim)(cudasimTitle("kernels"), () => {
  let ampere: Kernel[];
  let hopper: Kernel[];
  let blackwell: Kernel[];
  beforeAll(() => {
    ampere = measure(["sm_80"]);
    hopper = measure(["sm_90a"]);
    blackwell = measure(["sm_100"]);
  }, 1_200_000);

  it("spill nothing", () => {
    expect(ampere.map(({ name }) => name)).toEqual(
      expect.arrayContaining(["product_large_bf16", "rms_norm_tall_bf16"]),
    );
    expect(ampere.length).toBeGreaterThan(50);
    expect(hopper.map(({ file }) => file)).toContain("product_sm90.cu");
    expect(blackwell.map(({ name }) => name)).toEqual(expect.arrayContaining(ampere.map(({ name }) => name)));
    for (const { name, spills } of [...ampere, ...hopper, ...blackwell]) expect(spills, name).toBe(0);
  });

  it("leave room for a second block on sm_80, and fit a block of sm_86", async () => {
    const launched = await launchedShared();
    const alone: string[] = [];
    for (const { file, name, registers, threads, shared, dynamic } of ampere) {
      const factors = file === "product_half.cu" ? factorBytes(name) : 0;
      const bytes = tiles.has(name) || !dynamic ? shared + factors : launched.get(name);
      expect(bytes, `${name}: no launch was seen`).toBeDefined();
      expect(bytes, name).toBeLessThanOrEqual(LEAST_SHARED);
      if (occupancy("sm_80", registers, threads, bytes).blocks < 2) alone.push(name);
    }
    expect(alone).toEqual([]);
  });

  it("the SVD's kernels leave room for three blocks and more on sm_80", () => {
    const kernels = ampere.filter(({ file }) => file === "gram.cu");
    expect(kernels.map(({ name }) => name).sort()).toEqual(["gram_columns", "gram_rows", "gram_sum"]);
    for (const { name, blocks } of kernels) expect(blocks, name).toBeGreaterThanOrEqual(3);
  });

  it.each(["bf16", "f16"])("dW in %s has its two tilings, and two blocks of each fit on sm_80", (type) => {
    const tilings = ampere.filter(({ name }) => new RegExp(`^weight_gradient_(mid|large)_${type}$`).test(name));
    expect(tilings.map(({ shared }) => shared).sort()).toEqual([32768, 65536]);
    for (const { name, blocks } of tilings) expect(blocks, name).toBeGreaterThanOrEqual(2);
  });

  it("products of sm_90a: the large one has a multiprocessor for itself", () => {
    const products = hopper.filter(({ file }) => file === "product_sm90.cu");
    expect(products.map(({ name }) => name)).toEqual(
      expect.arrayContaining(["product_large_bf16_sm90", "product_large_f16_sm90"]),
    );
    for (const { name, registers, threads, shared } of products) {
      const { blocks } = occupancy("sm_90a", registers, threads, shared + factorBytes(name));
      expect(blocks, name).toBe(name.includes("large") ? 1 : 2);
    }
  });

  it("the head on sm_90a: its large tiles have a multiprocessor for themselves, of the others two fit", () => {
    const kernels = hopper.filter(({ file }) => /^head_\w+_sm90\.cu$/.test(file));
    expect(kernels).toHaveLength(10);
    for (const { name, registers, threads, shared } of kernels) {
      const { blocks } = occupancy(
        "sm_90a",
        registers,
        threads,
        shared + (/product_(?:mid|large)/.test(name) ? RATIO_BYTES : 0),
      );
      expect(blocks, name).toBe(name.includes("large") ? 1 : 2);
    }
  });

  it("tiles of sm_90a: what consumers take is what the producer gives of the registers at launch", () => {
    const large = hopper.filter(({ name }) => name.includes("_large_") && name.endsWith("_sm90"));
    expect(large).toHaveLength(8);
    // kLaunched of wgmma_tiles.cuh: setmaxnreg waits for ever where ptxas has launched a block with less.
    for (const { name, registers } of large) expect(registers, name).toBe(168);
  });
});
