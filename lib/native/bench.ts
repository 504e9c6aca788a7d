/** Products, and what the machine reaches at best, timed. */
import { totalmem } from "node:os";
import { TinyLoraError } from "../error.js";
import type { BenchDevice, BenchProductResult, BenchProductSpec, MachineLimits } from "./addon.js";
import { loadAddon } from "./load.js";
import { toldOf, withStack } from "./session.js";

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

/** Before it is taken: Linux gives memory that it does not have, and ends processes when they use it. */
function checkRoom(bytes: number): void {
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
