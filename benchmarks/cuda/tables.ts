/** The tables of counters.ts for docs/performance.md. */

import { markdownTable } from "../../lib/markdown.js";
import type { CubeShare, Summary } from "./counters.js";
import { GPUS } from "./estimate.js";
import { type StandInTimes, standInTable } from "./stand-in.js";

/** What registers.mjs says of a kernel. */
export interface Kernel {
  readonly file: string;
  readonly name: string;
  readonly architecture: string;
  readonly registers: number;
  readonly spills: number;
  readonly threads: number;
  readonly shared: number;
  readonly blocks: number;
  readonly warps: number;
}

export function tables(
  results: readonly Summary[],
  cube: readonly CubeShare[],
  kernels: readonly Kernel[],
  standIn: StandInTimes,
): readonly string[] {
  return [
    ...[layerTable(results), partsTable(results), estimateTable(results), cubeTable(cube), registersTable(kernels)],
    standInTable(standIn),
  ];
}

function more(share: number): string {
  return `${share >= 0 ? "+" : ""}${(100 * share).toFixed(1)} %`;
}

/** Plain products of a layer, and what fusion adds to them and to what makes their inputs. */
function layerTable(results: readonly Summary[]): string {
  const lines = results.flatMap(({ model, rows: count, products: list, parts, fusion }) =>
    (["forward", "backward"] as const).map((pass) => {
      const own = list.filter((one) => one.pass === pass);
      const [product, others] = (pass === "forward" ? [0, 2] : [1, 3]).map((i) => parts.plain[i]!);
      const least = own.reduce((all, one) => all + (count * one.out * one.in) / 2048, 0);
      return [
        ...[model, pass, count, `${(product!.instructions / 1e6).toFixed(1)} M`, (product!.mma / least).toFixed(2)],
        ...[(product!.wavefronts / product!.idealWavefronts).toFixed(2), (32e-6 * product!.sectors).toFixed(0)],
        ...[product!.barriers, product!.launches + others!.launches, `+${fusion.sm_80[pass].launches}`],
        ...[fusion.sm_80, fusion.sm_90a].flatMap((of) => [more(of[pass].instructions), more(of[pass].bytes)]),
      ];
    }),
  );
  return markdownTable(
    [
      "one layer",
      "pass",
      "rows",
      "warp instructions",
      "mma / (M N K / 2048)",
      "shared passes / ideal",
      "MB asked of L2",
      "barriers",
      "launches plain",
      "fused",
      "fusion, sm_80: instructions",
      "bytes",
      "sm_90a: instructions",
      "bytes",
    ],
    lines,
  );
}

function partsTable(results: readonly Summary[]): string {
  const most = Math.max(...results.map(({ rows }) => rows));
  const { model, rows: count, rank, parts } = results.findLast(({ rows }) => rows === most)!;
  const lines = parts.fused.map(({ name, launches, instructions, wavefronts, idealWavefronts, sectors, classes }) => {
    const share = (of: string) => `${((100 * (classes[of] ?? 0)) / instructions).toFixed(0)} %`;
    const conflicts = idealWavefronts > 0 ? (wavefronts / idealWavefronts).toFixed(2) : "-";
    return [
      name,
      launches,
      `${(instructions / 1e6).toFixed(2)} M`,
      ...["tensor", "shared memory", "asynchronous copies", "global memory", "floating point"].map(share),
      conflicts,
      (32e-6 * sectors).toFixed(1),
    ];
  });
  return markdownTable(
    [
      `${model}, ${count} rows, rank ${rank}`,
      "launches",
      "warp instructions",
      "tensor",
      "shared",
      "async copies",
      "global",
      "float",
      "shared passes / ideal",
      "MB asked of L2",
    ],
    lines,
  );
}

function estimateTable(results: readonly Summary[]): string {
  const us = (seconds: number) => (1e6 * seconds).toFixed(0);
  const lines = results.flatMap(({ model, rows: count, estimates }) =>
    (["forward", "backward"] as const).map((pass) => [
      ...[model, pass, count],
      ...estimates.flatMap((one) => {
        const plain = pass === "forward" ? one.plainForward : one.plainBackward;
        return [us(one[pass].seconds), more(one[pass].seconds / plain.seconds - 1)];
      }),
    ]),
  );
  return markdownTable(
    ["estimated products of one layer", "pass", "rows", ...GPUS.flatMap(({ name }) => [`${name}, us`, "fusion"])],
    lines,
  );
}

function cubeTable(cube: readonly CubeShare[]): string {
  const lines = cube.map(({ gpu, pass, kernel, share, limit, fusion }) => [
    gpu,
    pass,
    kernel,
    `${(100 * share).toFixed(0)} %`,
    limit,
    more(fusion),
  ]);
  return markdownTable(["estimated, 4096 cubed", "pass", "kernel", "of peak", "limit", "fusion"], lines);
}

/** One line a kernel, its threads in brackets; architectures beside one another. */
function registersTable(kernels: readonly Kernel[]): string {
  const architectures = [...new Set(kernels.map(({ architecture }) => architecture))];
  const names = [...new Map(kernels.map((one) => [one.name, one])).values()];
  const cell = (name: string, architecture: string) => {
    const found = kernels.find((one) => one.name === name && one.architecture === architecture);
    return found ? `${found.registers} / ${found.spills} / ${found.shared} / ${found.blocks} (${found.warps})` : "-";
  };
  return markdownTable(
    ["kernel (threads): registers / spilled bytes / shared bytes / blocks (warps) an SM", "file", ...architectures],
    names.map(({ name, threads, file }) => [
      `${name} (${threads})`,
      file,
      ...architectures.map((one) => cell(name, one)),
    ]),
  );
}
