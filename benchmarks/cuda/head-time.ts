/** Estimated times of the vocabulary head, each launch by the model of its kernel. */
import type { MODELS } from "../../bin/shapes.js";
import type { Launch } from "../../lib/index.js";
import { CHAIN_CLOCKS, estimate, type Gpu } from "./estimate.js";
import { estimateWgmma } from "./estimate-wgmma.js";
import { type Residents, tilesOf } from "./product-time.js";

/** Tokens of a block of head_stats. */
const VOCAB_CHUNK = 128;
/** Tokens whose e^l are in memory at once, where a derivative is made. */
const GROUP = 32 * VOCAB_CHUNK;
/** A warp by itself issues every second clock: the latency of a kernel of few warps. */
export const WARP_CLOCKS = 2;

/**
 * Seconds of the head's launches over `rows` rows. The statistics read the weights of their chunks from memory; a product
 * with e^l finds those of its group in L2.
 */
export function headTime(
  gpu: Gpu,
  launches: readonly Launch[],
  { vocab, hidden }: Pick<(typeof MODELS)[string], "vocab" | "hidden">,
  rows: number,
  blocks: Residents,
): number {
  const grouped = launches.some(({ kernel }) => kernel.startsWith("head_product"));
  let group = -1;
  return launches.reduce((sum, launch) => {
    const { kernel } = launch;
    const isStats = kernel.startsWith("head_stats");
    if (isStats) group += 1;
    const tokens = grouped ? Math.min(GROUP, vocab - group * GROUP) : vocab;
    const bytes = isStats ? 2 * hidden * tokens : 0;
    const resident = blocks(launch, gpu.architecture);
    if (!/^head_(?:stats|product)_\w+_sm90$/.test(kernel)) return sum + warpTime(gpu, launch, bytes, resident);
    const chunks = VOCAB_CHUNK * Math.ceil(tokens / VOCAB_CHUNK);
    const { tiles, cluster } = tilesOf(kernel, rows, [isStats ? chunks : hidden]);
    const k = isStats ? hidden : chunks;
    return sum + estimateWgmma(gpu, launch, bytes, { tiles, cluster, resident, k, issues: isStats }).seconds;
  }, 0);
}

/** Of a kernel that is no slower than one of its warps alone. */
export function warpTime(gpu: Gpu, launch: Launch, bytes: number, resident: number): number {
  const size = (sides: readonly number[]) => sides.reduce((product, side) => product * side, 1);
  const warps = (size(launch.grid) * size(launch.block)) / 32;
  return estimate(gpu, launch, bytes, (launch.executed / warps) * (WARP_CLOCKS / CHAIN_CLOCKS), resident).seconds;
}
