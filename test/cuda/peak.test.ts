// Gates on the estimated share of tensor peak at 4096 cubed, from counters of the kernels that A100, H100 and H200 run.
// Left out without nvcc.
import { beforeAll, describe, expect, it } from "vitest";
import { GPUS } from "../../benchmarks/cuda/estimate.js";
import { countedTiles, tileClocks } from "../../benchmarks/cuda/estimate-wgmma.js";
import { type Counted, countCubeAs } from "../../benchmarks/cuda/layer-counts.js";
import { productTime, type Residents, residents, tilingOf } from "../../benchmarks/cuda/product-time.js";
import { cudasimTitle, hasCudasim } from "../cudasim/build.js";

const N = 4096;
const RANK = 2;
const PASSES = ["forward", "backward"] as const;
/** Of the products that TMA feeds: mma.sync reaches 60 %, wgmma 75 %. */
const LEAST = { sm_80: 0.6, sm_90a: 0.75 };

describe.skipIf(!hasCudasim)(cudasimTitle("4096 cubed"), () => {
  let counts: Record<"sm_80" | "sm_90a", Counted>;
  let fp16: Counted;
  let blocks: Residents;
  beforeAll(() => {
    counts = { sm_80: countCubeAs(80, RANK), sm_90a: countCubeAs(90, RANK) };
    fp16 = countCubeAs(90, RANK, "fp16");
    blocks = residents();
  });

  const product = (architecture: "sm_80" | "sm_90a", pass: (typeof PASSES)[number], kind: "plain" | "fused") =>
    counts[architecture][kind][pass].find(({ modules }) => modules === "o")!;

  it.each(GPUS.flatMap((gpu) => PASSES.map((pass) => ({ gpu, pass, name: gpu.name }))))(
    "$name, $pass: the estimated share of peak",
    ({ gpu, pass }) => {
      for (const kind of ["plain", "fused"] as const) {
        const { seconds } = productTime(gpu, product(gpu.architecture, pass, kind), N, blocks);
        const share = N ** 3 / seconds / (gpu.tensor * gpu.multiprocessors * gpu.hertz);
        expect(share, kind).toBeGreaterThanOrEqual(LEAST[gpu.architecture]);
        expect(share, kind).toBeLessThan(1);
      }
    },
  );

  it.each(PASSES)(
    "sm_90a, %s: tiles of 128 x 256 in pairs, no more work than they hold, W asked for once a pair",
    (pass) => {
      for (const kind of ["plain", "fused"] as const) {
        const one = product("sm_90a", pass, kind);
        expect(one.product.kernel).toMatch(/^product_large_\w*sm90$/);
        const tiling = tilingOf(one, N, 1);
        expect(tiling).toEqual({ tiles: 32 * 16, cluster: 2, resident: 1, k: N });
        const counted = countedTiles(one.product, tiling);
        expect(one.product.mma / counted).toBe((128 * 256 * N) / (16 * 8 * 16));
        const copies = Object.entries(one.product.forms).filter(([form]) => form.startsWith("cp.async.bulk"));
        const sectors = copies.reduce((sum, [, { sectors: own = 0 }]) => sum + own, 0);
        expect((32 * sectors) / counted).toBe(2 * N * (128 + 256 / 2));
      }
    },
  );

  it.each(PASSES)("sm_90a, %s: fp16 does what bf16 does, instruction by instruction", (pass) => {
    for (const kind of ["plain", "fused"] as const) {
      const [other, one] = [fp16[kind][pass], counts.sm_90a[kind][pass]].map(
        (list) => list.find(({ modules }) => modules === "o")!.product,
      );
      expect(other!.kernel).toBe(one!.kernel.replace("bf16", "f16"));
      expect(other!.mma).toBe(one!.mma);
      expect(other!.executed).toBe(one!.executed);
      expect(other!.sectors).toBe(one!.sectors);
    }
  });

  it("sm_90a: the main loop keeps tensor cores, L2 and shared memory busy alike", () => {
    const one = product("sm_90a", "forward", "plain");
    const { tensor, l2, shared } = tileClocks(GPUS[1]!, one.product, tilingOf(one, N, 1));
    for (const part of [l2, shared]) expect(part / tensor).toBeLessThanOrEqual(1);
  });
});
