// Gates on what can be counted without a GPU: the products of a layer, run by the real engine on the stand-in for the
// CUDA driver as sm_80 and as sm_90a, of each launch a few blocks for all. Left out without nvcc.
import { beforeAll, describe, expect, it } from "vitest";
import { withAllTiles } from "../../benchmarks/cuda/all-tiles.js";
import { countAs } from "../../benchmarks/cuda/layer-counts.js";
// @ts-expect-error plain JavaScript
import { launchShapes } from "../../benchmarks/cuda/registers.mjs";
import { MODELS } from "../../bin/shapes.js";
import { fusionCost, type Launch, type LayerCounts, type ProductCounts } from "../../lib/index.js";
import { cudasimTitle, hasCudasim } from "../cudasim/build.js";

const tiles: Map<string, { rows: number; columns: number; cluster: number }> = launchShapes();
// A vocabulary of its own: the head is not under test here, and loading it would take most of the time.
const shape = { ...MODELS["qwen2.5-1.5b"]!, vocab: 512 };
const RANK = 2;

const ROWS = [512, 1] as const;
const PASSES = (["forward", "backward"] as const).flatMap((pass) => ROWS.map((rows) => ({ pass, rows })));

interface Fusion {
  readonly pass: "forward" | "decode" | "backward";
  readonly rows: number;
  readonly most: { readonly instructions: number; readonly bytes: number };
}

/**
 * Percent that the fused update may add to products and what makes their inputs. Four warps issue a wgmma for the work
 * of 128 mma.sync, so on sm_90a the same update is more of what is left: at 512 rows of 1,536 its fused multiply-adds
 * alone are 3.3 %, z another 3.5 %. In a decode step each of 512 sequences asks for the factors of attention's z itself.
 */
const FUSION = {
  sm_80: [
    { pass: "forward", rows: 512, most: { instructions: 2, bytes: 1 } },
    { pass: "backward", rows: 512, most: { instructions: 2, bytes: 1 } },
    { pass: "decode", rows: 512, most: { instructions: 2.4, bytes: 1.4 } },
    { pass: "forward", rows: 1, most: { instructions: 2, bytes: 3 } },
    { pass: "decode", rows: 1, most: { instructions: 2, bytes: 3 } },
    { pass: "backward", rows: 1, most: { instructions: 2, bytes: 3 } },
  ],
  sm_90a: [
    { pass: "forward", rows: 512, most: { instructions: 9.2, bytes: 1.25 } },
    { pass: "backward", rows: 512, most: { instructions: 8, bytes: 1.25 } },
    { pass: "decode", rows: 512, most: { instructions: 11, bytes: 2 } },
    { pass: "forward", rows: 1, most: { instructions: 2, bytes: 3 } },
    { pass: "decode", rows: 1, most: { instructions: 2, bytes: 3 } },
    { pass: "backward", rows: 1, most: { instructions: 5, bytes: 3 } },
  ],
} as const satisfies Record<string, readonly Fusion[]>;

/** Tiles that the outputs are cut into, and the sectors that these must read and write. */
function least(
  { product, outs, in: k, modules }: ProductCounts,
  pass: "forward" | "backward",
  rows: number,
  rank: number,
) {
  const { rows: high, columns: wide, cluster } = tiles.get(product.kernel)!;
  const clusters = Math.ceil(rows / (high * cluster)); // each reads W once
  const down = clusters * cluster;
  const sums = { mma: 0, bytes: 0 };
  for (const out of outs) {
    const across = Math.ceil(out / wide);
    sums.mma += down * across * (high / 16) * (wide / 8) * Math.ceil(k / 16);
    const wideOutput = pass === "backward" || modules !== "gate up";
    const added = pass === "forward" ? modules === "o" || modules === "down" : ["up", "k", "v"].includes(modules);
    const outputs = rows * out * (wideOutput ? 4 : 2) + (added ? 4 * rows * out : 0);
    const factors = 4 * rank * (rows * across + out * down);
    const bias = pass === "forward" && modules === "q k v" ? 4 * out * down : 0;
    sums.bytes += 2 * k * (rows * across + out * clusters) + outputs + factors + bias;
  }
  return { mma: sums.mma, sectors: sums.bytes / 32 };
}

describe.skipIf(!hasCudasim)(cudasimTitle("products of Qwen2.5-1.5B"), () => {
  describe.each(["sm_80", "sm_90a"] as const)("%s", (architecture) => {
    const counts = new Map<string, LayerCounts>();
    const of = (rows: number, rank: number) => counts.get(`${rows} ${rank}`)!;
    beforeAll(() => {
      const wanted = { models: { "qwen2.5-1.5b": shape }, rows: ROWS, rank: RANK };
      for (const { rows, plain, fused } of countAs(architecture === "sm_80" ? 80 : 90, wanted)) {
        counts.set(`${rows} 0`, withAllTiles(plain, rows)).set(`${rows} ${RANK}`, withAllTiles(fused, rows));
      }
    });

    describe.each(PASSES)("$pass, $rows rows", ({ pass, rows }) => {
      it("multiply no more than their tiles take, with the adapter as without", () => {
        for (const rank of [0, RANK]) {
          for (const one of of(rows, rank)[pass]) {
            expect(one.product.mma, `${one.modules}, rank ${rank}`).toBe(least(one, pass, rows, rank).mma);
          }
        }
      });

      it("have no conflicts of shared memory in the main loop", () => {
        for (const { product, modules } of of(rows, RANK)[pass]) {
          const main = Object.entries(product.forms).filter(([form]) => /^(?:ldmatrix|cp\.async)/.test(form));
          const [passesTaken, ideal] = [main, main].map((forms, i) =>
            forms.reduce((sum, [, one]) => sum + ((i === 0 ? one.wavefronts : one.idealWavefronts) ?? 0), 0),
          );
          expect(ideal, modules).toBeGreaterThan(0);
          expect(passesTaken, modules).toBe(ideal);
        }
      });

      it("move at most 1.05 of the bytes that their tiles must", () => {
        for (const rank of [0, RANK]) {
          for (const one of of(rows, rank)[pass]) {
            const share = one.product.sectors! / least(one, pass, rows, rank).sectors;
            const name = `${pass}, ${rows} rows, ${one.modules}, rank ${rank}`;
            expect(share, name).toBeLessThanOrEqual(1.05);
            expect(share, name).toBeGreaterThan(0.95);
          }
        }
      });
    });

    it("the head multiplies twice in the forward pass and not at all on the way back", () => {
      const { head, headBackward } = of(512, RANK);
      const mma = (launches: readonly Launch[]) => launches.reduce((sum, { mma }) => sum + mma, 0);
      const scored = 512; // 508, of whole tiles
      expect(mma(head)).toBe((2 * scored * shape.vocab * shape.hidden) / 2048);
      expect(mma(headBackward)).toBe(0);
      for (const { kernel, wavefronts, idealWavefronts } of head) {
        expect(wavefronts ?? 0, kernel).toBeLessThanOrEqual(1.001 * (idealWavefronts ?? 0));
      }
    });

    it.each(ROWS)("no kernel of a layer has conflicts of shared memory or keeps local memory, %s rows", (rows) => {
      for (const rank of [0, RANK]) {
        const { forward, backward, decode, attention, attentionBackward, decodeAttention } = of(rows, rank);
        const products = [...forward, ...backward, ...decode].flatMap(({ product, before }) => [...before, product]);
        for (const launch of [...products, ...attention, ...attentionBackward, ...decodeAttention]) {
          expect(launch.wavefronts, `${launch.kernel}, rank ${rank}`).toBe(launch.idealWavefronts);
          expect(launch.localAccesses, `${launch.kernel}, rank ${rank}`).toBe(0);
        }
      }
    });

    it.each<Fusion>(FUSION[architecture])(
      "the fused update costs little: $pass, $rows rows",
      ({ pass, rows, most }) => {
        const more = fusionCost(pass, of(rows, 0), of(rows, RANK));
        expect(more.instructions).toBeLessThanOrEqual(most.instructions / 100);
        expect(more.bytes).toBeLessThanOrEqual(most.bytes / 100);
        if (pass !== "backward") expect(more.launches).toBe(0);
      },
    );
  });
});
