/**
 * The same for kernels made of wgmma_tiles.cuh, whose blocks stay and make one tile after another. It assumes what
 * estimate.ts does, and:
 *   - wgmma reaches 95 % of the tensor rate
 *   - a wgmma reads its 64 rows of A and all of B from shared memory, and TMA writes there, at 128 bytes a clock together
 *   - a multicast copy is read from L2 once and written to each block; L2 gives a multiprocessor 32 bytes a clock
 *   - the ring is filled once, 1,500 clocks before the first product; the producer fills it for the next tile during the
 *     epilogue
 *   - an epilogue waits for what it asks of L2, and 600 clocks besides; nothing else of its block runs then, but other
 *     blocks of the multiprocessor do. That of head_stats takes its instructions' issue slots
 */
import type { Launch } from "../../lib/index.js";
import { CHAIN_CLOCKS, type Estimate, type Gpu, L2, launchSeconds, MEMORY_SHARE, MMA, SECTOR } from "./estimate.js";

/** What the launch cuts its outputs into. */
export interface Tiling {
  /** Tiles of a block in all, an odd last row tile's neighbour in its cluster included. */
  readonly tiles: number;
  /** Blocks that share a W tile. */
  readonly cluster: number;
  /** Blocks that fit on one multiprocessor. */
  readonly resident: number;
  /** Of the product: 16 k is one wgmma. */
  readonly k: number;
  /** What follows a tile's products takes the issue slots that are counted, if that is longer than what it asks of L2. */
  readonly issues?: boolean;
}

const SHARED = 128;
const FILL_CLOCKS = 1500;
const EPILOGUE_CLOCKS = 600;

/** Clocks of one tile, by part. */
export interface TileClocks {
  readonly tensor: number;
  readonly shared: number;
  readonly l2: number;
  readonly issue: number;
  readonly epilogue: number;
}

export function tileClocks(gpu: Gpu, launch: Launch, tiling: Tiling): TileClocks {
  const counted = countedTiles(launch, tiling);
  let copied = 0;
  let written = 0;
  let operands = 0;
  for (const [form, { executed, sectors = 0 }] of Object.entries(launch.forms)) {
    if (form.startsWith("cp.async.bulk")) {
      copied += SECTOR * sectors;
      written += SECTOR * sectors * (form.includes("multicast") ? tiling.cluster : 1);
    }
    const columns = /^wgmma\.mma_async\S*\.m64n(\d+)k16\./.exec(form)?.[1];
    if (columns) operands += (executed / 4) * 2 * 16 * (64 + Number(columns));
  }
  const issue = launch.executed / 4 / counted;
  return {
    tensor: (launch.mma * MMA) / (gpu.tensor * gpu.wgmma) / counted,
    shared: (operands + written) / SHARED / counted,
    l2: copied / L2 / counted,
    issue,
    epilogue:
      Math.max(tiling.issues ? issue : 0, (SECTOR * (launch.sectors ?? 0) - copied) / L2 / counted) + EPILOGUE_CLOCKS,
  };
}

/** `compulsory`: bytes that must come from or go to memory. */
export function estimateWgmma(gpu: Gpu, launch: Launch, compulsory: number, tiling: Tiling): Estimate {
  const { tensor, shared, l2, issue, epilogue } = tileClocks(gpu, launch, tiling);
  const { tiles, cluster, resident, k } = tiling;
  const slots = Math.floor((gpu.multiprocessors * resident) / cluster) * cluster;
  const rounds = Math.ceil(tiles / slots); // of the block with most tiles
  const busiest = rounds === 1 ? Math.ceil(tiles / gpu.multiprocessors) : rounds * resident;
  const between = resident === 1 ? rounds * epilogue : 0;
  const parts: Record<string, number> = {
    "tensor cores": busiest * tensor + between,
    "shared memory": busiest * shared + between,
    L2: busiest * (l2 + (resident === 1 ? 0 : epilogue - EPILOGUE_CLOCKS)) + between,
    issue: busiest * issue,
    latency: rounds * ((k / 16) * CHAIN_CLOCKS + epilogue),
  };
  const [limit, clocks] = Object.entries(parts).reduce((most, part) => (part[1] > most[1] ? part : most));
  const seconds = (FILL_CLOCKS + clocks) / gpu.hertz;
  const memory = compulsory / (MEMORY_SHARE * gpu.bandwidth);
  const start = launchSeconds(launch);
  return memory > seconds ? { seconds: memory + start, limit: "memory" } : { seconds: seconds + start, limit };
}

/**
 * Tiles that the counters of a launch hold where a middle cluster stood for all but the last (CUDASIM_SAMPLE=1): cluster c
 * of C makes tiles c, c + C, ...
 */
export function countedTiles(launch: Launch, { tiles, cluster }: Pick<Tiling, "tiles" | "cluster">): number {
  const [clusters, shared] = [launch.grid[0] / cluster, tiles / cluster];
  const of = (index: number) => Math.ceil((shared - index) / clusters);
  const others = clusters - 1;
  return cluster * (others * of(Math.floor(others / 2)) + of(others));
}
