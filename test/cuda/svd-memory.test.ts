// An SVD that a device has no room for, on the stand-in for the CUDA driver with little memory. Left out without nvcc.
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { EngineSpec, SvdFactors } from "../../lib/native/addon.js";
import { cudasimLibrary } from "../../lib/native/cudasim.js";
import { loadAddon } from "../../lib/native/load.js";
import { type TinyModel, writeTinyModel } from "../addon/tiny-model.js";
import { cudasimTitle, hasCudasim } from "../cudasim/build.js";

/** Weights of 1.6 MiB in bf16; one module of the MLP takes 1 MiB in fp32, one of attention 20 KiB. */
const MODEL = { hidden: 128, intermediate: 2048, layers: 1 };
const [Q_PROJ, UP_PROJ] = [0, 5];

describe.skipIf(!hasCudasim)(cudasimTitle("no room for an SVD"), () => {
  let model: TinyModel;
  beforeAll(() => {
    process.env.CUDASIM_MEMORY = "2";
    model = writeTinyModel(MODEL);
  });
  afterAll(() => model.remove());

  async function factors(spec: Partial<EngineSpec>, ...modules: number[]): Promise<SvdFactors[]> {
    const engine = await loadAddon().loadEngine(model.spec({ dtype: "bf16", ...spec }), () => {});
    try {
      return await engine.computeSvd({ rank: 3, modules }, () => {});
    } finally {
      engine.dispose();
    }
  }

  it("names the module and another device, and leaves the device and the CPU usable", async () => {
    const onDevice: Partial<EngineSpec> = { device: "cudasim", driver: cudasimLibrary() };
    const failed = factors(onDevice, Q_PROJ, UP_PROJ);
    await expect(failed).rejects.toMatchObject({
      code: "ERR_MEMORY",
      message: expect.stringMatching(
        /^svd: layer 0, mlp\.up_proj \[2048, 128\], .*device cpu computes .* has no room for 1 MiB more \(0 of 2 MiB free\)$/,
      ),
    });

    const [small, large] = await factors({}, Q_PROJ, UP_PROJ);
    expect(await factors(onDevice, Q_PROJ)).toEqual([small]);
    expect(large!.u).toHaveLength(2048 * 3);
    for (const s of large!.s) expect(s).toBeGreaterThan(0);
  });
});
