/** Estimated times of products, each by the model of the kernel that made it. */
import type { Launch, ProductCounts } from "../../lib/index.js";
import { type Estimate, estimate, type Gpu } from "./estimate.js";
import { estimateWgmma, type Tiling } from "./estimate-wgmma.js";
// @ts-expect-error plain JavaScript
import { launchShapes, measure } from "./registers.mjs";

const shapes: Map<string, { rows: number; columns: number; cluster: number }> = launchShapes();

/** Blocks that fit on one multiprocessor, by kernel and architecture: ptxas says so. */
export type Residents = (kernel: string, architecture: string) => number;

export function residents(): Residents {
  const kernels: { name: string; architecture: string; blocks: number }[] = measure(
    ["sm_80", "sm_90a"],
    ["product_half.cu", "product_sm90.cu"],
  );
  return (kernel, architecture) => {
    const found = kernels.find((one) => one.name === kernel && one.architecture === architecture);
    if (!found) throw new Error(`ptxas says nothing of ${kernel} for ${architecture}`);
    return found.blocks;
  };
}

/** What product_sm90.cu cuts the outputs into. */
export function tilingOf(
  { product, outs, in: k }: Pick<ProductCounts, "product" | "outs" | "in">,
  rows: number,
  resident: number,
): Tiling {
  const { rows: high, columns, cluster } = shapes.get(product.kernel)!;
  const across = outs.reduce((sum, out) => sum + Math.ceil(out / columns), 0);
  return { tiles: Math.ceil(rows / (high * cluster)) * cluster * across, cluster, resident, k };
}

/** Of a product alone. */
export function productTime(gpu: Gpu, counts: ProductCounts, rows: number, blocks: Residents): Estimate {
  const { product, outs, in: k } = counts;
  const out = outs.reduce((sum, one) => sum + one, 0);
  const bytes = 2 * out * k + 2 * rows * k + 4 * rows * out;
  const resident = blocks(product.kernel, gpu.architecture);
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
