/**
 * Seconds that counters come to on a GPU, by the slowest of its parts. A model, not a measurement; it assumes:
 *   - tensor cores, issue slots (one a clock of each of 4 schedulers) and shared memory (128 bytes a clock) of a
 *     multiprocessor work side by side at full rate; the multiprocessor with most blocks decides
 *   - PTX instructions are machine instructions
 *   - every sector that a warp asks for comes from L2 at 32 bytes a clock and multiprocessor; memory is read once, at 90 %
 *     of its bandwidth
 *   - mma.sync reaches the whole tensor rate on sm_80 and 62 % of it on sm_90
 *   - a warp's chain of mma takes 33 clocks a link, and so many blocks run at once as registers and shared memory allow
 *   - a launch costs 1.5 us, and half of that where it may begin before the one before it is done
 * The persistent products of sm_90a have a model of their own: estimate-wgmma.ts.
 */
import type { Launch } from "../../lib/index.js";

export interface Gpu {
  readonly name: string;
  readonly multiprocessors: number;
  readonly hertz: number;
  /** Tensor multiply-adds a clock and multiprocessor, in bf16, and the share of it that mma.sync reaches. */
  readonly tensor: number;
  readonly mmaSync: number;
  /** The same of wgmma; 0 without. */
  readonly wgmma: number;
  /** Bytes a second of memory. */
  readonly bandwidth: number;
  readonly architecture: "sm_80" | "sm_90a";
}

export const GPUS: readonly Gpu[] = [
  {
    name: "A100 80 GB",
    multiprocessors: 108,
    hertz: 1.41e9,
    tensor: 1024,
    mmaSync: 1,
    wgmma: 0,
    bandwidth: 2.04e12,
    architecture: "sm_80",
  },
  {
    name: "H100 SXM",
    multiprocessors: 132,
    hertz: 1.83e9,
    tensor: 2048,
    mmaSync: 0.62,
    wgmma: 0.95,
    bandwidth: 3.35e12,
    architecture: "sm_90a",
  },
  {
    name: "H200",
    multiprocessors: 132,
    hertz: 1.83e9,
    tensor: 2048,
    mmaSync: 0.62,
    wgmma: 0.95,
    bandwidth: 4.8e12,
    architecture: "sm_90a",
  },
];

export interface Estimate {
  readonly seconds: number;
  /** What takes longest. */
  readonly limit: string;
}

/** Multiply-adds of an mma.m16n8k16, in which tensor work is counted. */
export const MMA = 16 * 8 * 16;
/** Bytes a clock and multiprocessor. */
export const L2 = 32;
export const CHAIN_CLOCKS = 33;
const LAUNCH_SECONDS = 1.5e-6;
const EARLY_LAUNCH_SECONDS = 0.75e-6;
export const SECTOR = 32;
export const MEMORY_SHARE = 0.9;

/** `compulsory`: bytes that must come from or go to memory; `chain`: links of one warp; `resident`: blocks that fit on one multiprocessor. */
export function estimate(gpu: Gpu, launch: Launch, compulsory: number, chain: number, resident: number): Estimate {
  const blocks = launch.grid.reduce((product, side) => product * side, 1);
  const share = Math.ceil(blocks / gpu.multiprocessors) / blocks; // of the busiest multiprocessor
  const clocks = (count: number) => (count * share) / gpu.hertz;
  const parts: Record<string, number> = {
    "tensor cores": clocks((launch.mma * MMA) / (gpu.tensor * gpu.mmaSync)),
    issue: clocks(launch.executed / 4),
    "shared memory": clocks(launch.wavefronts ?? 0),
    L2: ((launch.sectors ?? 0) * SECTOR) / (L2 * gpu.multiprocessors * gpu.hertz),
    memory: compulsory / (MEMORY_SHARE * gpu.bandwidth),
    latency: (Math.ceil(blocks / (gpu.multiprocessors * resident)) * chain * CHAIN_CLOCKS) / gpu.hertz,
  };
  const [limit, seconds] = Object.entries(parts).reduce((most, part) => (part[1] > most[1] ? part : most));
  return { seconds: seconds + launchSeconds(launch), limit };
}

/** What a launch costs before its first instruction. */
export function launchSeconds({ startsEarly }: Pick<Launch, "startsEarly">): number {
  return startsEarly ? EARLY_LAUNCH_SECONDS : LAUNCH_SECONDS;
}
