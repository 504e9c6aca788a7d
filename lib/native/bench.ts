/** Products, and what the machine reaches at best, timed. */
import { totalmem } from "node:os";
import { TinyLoraError } from "../error.js";
import type { CpuPath, Dtype } from "./addon.js";
import { loadAddon } from "./load.js";
import { toldOf, withStack } from "./session.js";

export interface BenchDevice {
  /** "cpu" (then with `path` and `threads`), "cuda", "cuda:N", or "cudasim" with its driver, whose times say nothing. */
  readonly device: string;
  readonly driver?: string;
  readonly path?: CpuPath;
  readonly threads?: number;
}

export interface BenchProductSpec extends BenchDevice {
  readonly out: number;
  readonly in: number;
  readonly rows: number;
  readonly dtype: Dtype;
  readonly direction: "forward" | "backward";
  /** Rank of the fused update; 0 is the plain product. */
  readonly rank: number;
  /** Least seconds spent. */
  readonly seconds: number;
  /** Weight memory to cycle through, in bytes, within what the device has: 0 keeps one matrix, warm in cache. */
  readonly footprint: number;
}
export interface BenchProductResult {
  /** Median and least seconds of one call of each: plain and fused are timed in turns. */
  readonly plain: { median: number; least: number };
  readonly fused: { median: number; least: number };
  readonly calls: number;
}
export interface MachineLimits {
  /** Of products in fp32 and in bf16, both from loops that only touch registers. */
  readonly gflops: { fp32: number; bf16: number };
  /** Of reading memory far larger than the caches. */
  readonly gbytes: number;
}

/** What to do where memory runs out. */
export const LESS_TO_MEASURE = "measure fewer rows, a smaller rank or smaller shapes, with fewer threads";

/** Bytes that each thread reads to find the limit of memory (native/cpu/bench.cpp). */
const LIMIT_BYTES = 2 ** 28;

interface Stoppable {
  readonly signal?: AbortSignal | undefined;
}

/**
 * Seconds of one product, plain and with the update fused in. ERR_DEVICE where the device cannot be used, ERR_MEMORY where
 * it has no room.
 */
export async function benchProduct(spec: BenchProductSpec, { signal }: Stoppable = {}): Promise<BenchProductResult> {
  const { out, in: inputs, rows, footprint } = spec;
  const size = spec.dtype === "fp32" ? 4 : 2;
  const weights = Math.max(footprint, size * out * inputs);
  if (spec.device === "cpu") checkRoom(weights + (size + 4) * rows * (out + inputs));
  return measured((goOn) => loadAddon().benchProduct(spec, goOn), signal);
}

/** Gflop/s and GB/s that this machine reaches at best, measured for `seconds` each. */
export async function benchLimits(
  spec: BenchDevice & { seconds: number },
  { signal }: Stoppable = {},
): Promise<MachineLimits> {
  if (spec.device === "cpu") checkRoom(LIMIT_BYTES * (spec.threads ?? 1));
  return measured((goOn) => loadAddon().benchLimits(spec, goOn), signal);
}

/** ERR_MEMORY where the machine has less, before it is taken: Linux gives memory that it does not have, and ends processes when they use it. */
export function checkRoom(bytes: number): void {
  const room = Math.min(totalmem(), process.constrainedMemory?.() || Number.POSITIVE_INFINITY);
  if (!(bytes > room)) return;
  const mib = (value: number) => `${Math.ceil(value / 2 ** 20)} MiB`;
  throw new TinyLoraError(
    "ERR_MEMORY",
    `bench: expected to take at most ${mib(room)}, this machine's memory, found ${mib(bytes)}: ${LESS_TO_MEASURE}`,
  );
}

function measured<T>(measure: (goOn: () => boolean) => Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  return toldOf(
    (tell) => withStack(() => measure(() => tell(0, 0)), LESS_TO_MEASURE),
    () => {},
    signal,
  );
}
