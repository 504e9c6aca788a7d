import { cpus } from "node:os";

/** One figure, in the form that the peers' scripts print: a JSON object a line. */
export interface Measurement {
  readonly name: string;
  readonly unit: string;
  readonly value: number;
  readonly settings: Readonly<Record<string, unknown>>;
  readonly machine: Readonly<Record<string, unknown>>;
}

export function emit(name: string, unit: string, value: number, settings: Record<string, unknown>): void {
  const machine = { cpu: cpus()[0]?.model, cores: cpus().length, node: process.version };
  console.log(JSON.stringify({ name, unit, value: Number(value.toPrecision(6)), settings, machine }));
}

/** The largest resident set of this process so far, MiB. */
export const peakRssMib = (): number => process.resourceUsage().maxRSS / 1024;

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = Math.floor(sorted.length / 2);
  const upper = sorted[middle] ?? Number.NaN;
  return sorted.length % 2 === 1 ? upper : (upper + (sorted[middle - 1] ?? Number.NaN)) / 2;
}
