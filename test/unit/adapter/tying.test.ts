import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { linearModules } from "../../../lib/adapter/modules.js";
import { parameterTable, vectorLength } from "../../../lib/adapter/parameters.js";
import { adapterSpec } from "../../../lib/adapter/spec.js";
import { makeTying, tieGroups } from "../../../lib/adapter/tying.js";
import { anyTying, CONFIG, MODULES } from "./arbitrary.js";

describe("tie groups", () => {
  it.each([
    ["structured", undefined, "n_tie: expected a whole number from 1 for structured tying, found undefined"],
    ["tiled", 0, "n_tie: expected a whole number from 1 for tiled tying, found 0"],
    ["tiled", 1.5, "n_tie: expected a whole number from 1 for tiled tying, found 1.5"],
    ["ratio", undefined, "weight_tying: expected 0 to 1, found undefined"],
  ] as const)("refuses %s with %s", (kind, nTie, message) => {
    expect(() => makeTying(kind, nTie)).toThrow(message);
  });

  it("cuts model order into runs (tiled)", () => {
    const { count, of } = tieGroups({ kind: "tiled", nTie: 8 }, MODULES);
    expect(count).toBe(3);
    expect(of).toEqual(MODULES.map((_, i) => Math.floor(i / 8)));
  });

  it("shares by type over neighbouring layers (structured)", () => {
    const { count, of } = tieGroups({ kind: "structured", nTie: 2 }, MODULES);
    expect(count).toBe(14);
    expect(of.slice(0, 7)).toEqual([0, 1, 2, 3, 4, 5, 6]);
    expect(of.slice(7, 14)).toEqual(of.slice(0, 7));
    expect(of.slice(14)).toEqual([7, 8, 9, 10, 11, 12, 13]);
  });

  // G = max(1, round(N (1 - t))), half to even; size = max(1, N // G); g = min(i // size, G - 1).
  it.each([
    [0, 21, 1],
    [1, 1, 21],
    [0.5, 10, 2], // 10.5 rounds to the even 10; 21 // 10 = 2, the last group takes 3
    [0.9, 2, 10],
  ])("follows PEFT's weight_tying %s", (ratio, groups, size) => {
    const { count, of } = tieGroups({ kind: "ratio", ratio }, MODULES);
    expect(count).toBe(groups);
    expect(of).toEqual(MODULES.map((_, i) => Math.min(Math.floor(i / size), groups - 1)));
  });

  it("uses every group, from 0, without gaps", () => {
    fc.assert(
      fc.property(anyTying, (tying) => {
        const { count, of } = tieGroups(tying, MODULES);
        expect(new Set(of)).toEqual(new Set(Array.from({ length: count }, (_, group) => group)));
        expect(of).toHaveLength(MODULES.length);
      }),
    );
  });
});

describe("parameters", () => {
  it("counts n m u / n_tie", () => {
    const smol = linearModules({
      ...CONFIG,
      hidden: 576,
      intermediate: 1536,
      layers: 30,
      heads: 9,
      kvHeads: 3,
      headDim: 64,
    });
    const count = (options: Parameters<typeof adapterSpec>[0]) => {
      const spec = adapterSpec(options);
      const { vector, trained } = parameterTable(spec, smol);
      expect([vectorLength(spec, smol), trained]).toEqual([vector, vector]);
      return trained;
    };
    expect(count({})).toBe(13);
    expect(count({ tying: { kind: "none" } })).toBe(30 * 7 * 13);
    expect(count({ tying: { kind: "tiled", nTie: 14 } })).toBe((30 * 7 * 13) / 14);
    expect(count({ tying: { kind: "structured", nTie: 5 }, u: 1 })).toBe((30 * 7) / 5);
    expect(count({ targetModules: ["q_proj", "v_proj"], tying: { kind: "none" }, u: 64 })).toBe(60 * 64);
  });

  it("has shapes of grouped heads", () => {
    const { rows, bytes, adapted } = parameterTable(adapterSpec({ dtype: "bf16" }), MODULES);
    expect(rows.map((row) => `${row.type} ${row.out}x${row.in}`)).toEqual([
      "q_proj 16x16",
      "k_proj 8x16",
      "v_proj 8x16",
      "o_proj 16x16",
      "gate_proj 24x16",
      "up_proj 24x16",
      "down_proj 16x24",
    ]);
    expect(bytes).toBe(26);
    expect(adapted).toBe(3 * (256 + 128 + 128 + 256 + 3 * 384));
  });
});
