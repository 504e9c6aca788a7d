/** Estimated times of products, each by the model of the kernel that made it. */
import type { Launch, LayerCounts, ProductCounts } from "../../lib/index.js";
import { type Estimate, estimate, type Gpu } from "./estimate.js";
import { estimateWgmma, type Tiling } from "./estimate-wgmma.js";
// @ts-expect-error plain JavaScript
import { launchShapes, measure, occupancy } from "./registers.mjs";
import type { Kernel } from "./tables.js";

const shapes: Map<string, { rows: number; columns: number; cluster: number }> = launchShapes();

/** Blocks of a launch that fit on one multiprocessor. */
export type Residents = (launch: Launch, architecture: string) => number;

/** By what ptxas says of these kernels, of the products where none are given, and the shared memory of the launch. */
export function residents(
  kernels: readonly Kernel[] = measure(["sm_80", "sm_90a"], ["product_half.cu", "product_sm90.cu"]),
): Residents {
  return ({ kernel, block, sharedBytes }, architecture) => {
    const found = kernels.find((one) => one.name === kernel && one.architecture === architecture);
    if (!found) throw new Error(`ptxas says nothing of ${kernel} for ${architecture}`);
    return occupancy(architecture, found.registers, block[0] * block[1] * block[2], sharedBytes).blocks;
  };
}

/** What a kernel of sm_90a cuts `rows` rows of these outputs into. */
export function tilesOf(kernel: string, rows: number, outs: readonly number[]): Pick<Tiling, "tiles" | "cluster"> {
  const { rows: high, columns, cluster } = shapes.get(kernel)!;
  const across = outs.reduce((sum, out) => sum + Math.ceil(out / columns), 0);
  return { tiles: Math.ceil(rows / (high * cluster)) * cluster * across, cluster };
}

/** The same of a product. */
export function tilingOf(
  { product, outs, in: k }: Pick<ProductCounts, "product" | "outs" | "in">,
  rows: number,
  resident: number,
): Tiling {
  return { ...tilesOf(product.kernel, rows, outs), resident, k };
}

/** Of a product alone. */
export function productTime(gpu: Gpu, counts: ProductCounts, rows: number, blocks: Residents): Estimate {
  const { product, outs, in: k } = counts;
  const out = outs.reduce((sum, one) => sum + one, 0);
  const bytes = 2 * out * k + 2 * rows * k + 4 * rows * out;
  const resident = blocks(product, gpu.architecture);
  return product.kernel.endsWith("_sm90")
    ? estimateWgmma(gpu, product, bytes, tilingOf(counts, rows, resident))
    : estimate(gpu, product, bytes, k / 16, resident);
}

/** Of a product with what comes before it. */
export function timeWithInputs(gpu: Gpu, counts: ProductCounts, rows: number, blocks: Residents): Estimate {
  const { seconds, limit } = productTime(gpu, counts, rows, blocks);
  const others = counts.before.map((one: Launch) => estimate(gpu, one, 0, 0, 8).seconds);
  return { seconds: seconds + others.reduce((sum, one) => sum + one, 0), limit };
}

/** What attention takes longer where it makes z of the product that reads it. */
export function attentionMore(gpu: Gpu, { plain, fused }: { plain: LayerCounts; fused: LayerCounts }): number {
  const seconds = ({ attention }: LayerCounts) =>
    attention.reduce((sum, one) => sum + estimate(gpu, one, 0, 0, 8).seconds, 0);
  return seconds(fused) - seconds(plain);
}
