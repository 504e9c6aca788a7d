/** What the stand-in for the CUDA driver counted: one launch a line of the file that CUDASIM_LOG names. */
import { existsSync, readFileSync } from "node:fs";

export interface Counters {
  /** Instructions of a warp. */
  readonly executed: number;
  /** Passes over the banks of shared memory, and how many there would be without conflicts. */
  readonly wavefronts?: number;
  readonly idealWavefronts?: number;
  /** Of global memory, 32 bytes each: a warp's access counts every sector that it touches once. */
  readonly sectors?: number;
}

export interface Launch extends Counters {
  readonly kernel: string;
  readonly grid: readonly [number, number, number];
  readonly block: readonly [number, number, number];
  /** Of shared memory, of a block. */
  readonly sharedBytes: number;
  /** Whether it may begin before the launch before it is done. */
  readonly startsEarly: boolean;
  readonly mma: number;
  readonly barriers: number;
  /** Loads and stores of spilled registers and local arrays. */
  readonly localAccesses: number;
  /** By PTX opcode with its modifiers. */
  readonly forms: Readonly<Record<string, Counters>>;
}

export class LaunchLog {
  #read = 0;

  constructor(readonly file: string) {}

  /** The launches since the last call. */
  take(): Launch[] {
    const lines = existsSync(this.file) ? readFileSync(this.file, "utf8").split("\n").slice(0, -1) : [];
    const fresh = lines.slice(this.#read);
    this.#read = lines.length;
    return fresh.map((line) => JSON.parse(line) as Launch);
  }
}

/** Of several launches together. */
export interface Total {
  readonly launches: number;
  readonly instructions: number;
  readonly mma: number;
  readonly wavefronts: number;
  readonly idealWavefronts: number;
  readonly sectors: number;
  readonly barriers: number;
  readonly localAccesses: number;
}

/** Sums of the counters over launches. */
export function total(launches: readonly Launch[]): Total {
  const sum = (of: (launch: Launch) => number | undefined) => launches.reduce((all, one) => all + (of(one) ?? 0), 0);
  return {
    launches: launches.length,
    instructions: sum((one) => one.executed),
    mma: sum((one) => one.mma),
    wavefronts: sum((one) => one.wavefronts),
    idealWavefronts: sum((one) => one.idealWavefronts),
    sectors: sum((one) => one.sectors),
    barriers: sum((one) => one.barriers),
    localAccesses: sum((one) => one.localAccesses),
  };
}

/** Warp instructions by what they keep busy. */
export function byClass(launches: readonly Launch[]): Record<string, number> {
  const classes: Record<string, number> = {};
  for (const { forms } of launches) {
    for (const [form, { executed }] of Object.entries(forms)) {
      const name = CLASSES.find(([, pattern]) => pattern.test(form))?.[0] ?? "integer and other";
      classes[name] = (classes[name] ?? 0) + executed;
    }
  }
  return classes;
}

const CLASSES: readonly [string, RegExp][] = [
  ["tensor", /^(?:wg)?mma\./],
  ["asynchronous copies", /^cp\./],
  ["shared memory", /^(?:ldmatrix|stmatrix|(?:ld|st|atom|red)\S*\.shared)/],
  ["global memory", /^(?:ld|st|atom|red)\S*\.global/],
  ["barriers", /^(?:bar|barrier|mbarrier)\b/],
  [
    "floating point",
    /^(?:add|sub|mul|fma|mad|max|min|div|rcp|sqrt|rsqrt|ex2|lg2|neg|abs|cvt)\S*\.(?:f32|f64|f16|bf16|f16x2|bf16x2)\b/,
  ],
  ["control", /^(?:bra|ret|exit|setp|call)\b/],
];
