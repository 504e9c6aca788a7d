// computeSvd of an engine on the stand-in for the CUDA driver: by kernels, with the bits of the CPU. Left out without nvcc.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { LaunchLog } from "../../lib/cudasim/launches.js";
import type { EngineSpec, SvdFactors } from "../../lib/native/addon.js";
import { cudasimLibrary } from "../../lib/native/cudasim.js";
import { loadAddon } from "../../lib/native/load.js";
import { type TinyModel, writeTinyModel } from "../addon/tiny-model.js";
import { cudasimTitle, hasCudasim } from "../cudasim/build.js";

const MODULES = Array.from({ length: 14 }, (_, module) => module);
const KERNELS = ["gram_rows", "gram_columns", "gram_sum"];

describe.skipIf(!hasCudasim)(cudasimTitle("computeSvd on cuda"), () => {
  let folder: string;
  let model: TinyModel;
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), "tinylora-svd-"));
    process.env.CUDASIM_LOG = join(folder, "launches.jsonl");
    model = writeTinyModel();
  });
  afterAll(() => {
    model.remove();
    rmSync(folder, { recursive: true });
  });

  async function factors(spec: Partial<EngineSpec>): Promise<{ svd: SvdFactors[]; progress: number[] }> {
    const engine = await loadAddon().loadEngine(model.spec(spec), () => {});
    const progress: number[] = [];
    try {
      const svd = await engine.computeSvd({ rank: 3, modules: MODULES }, (done) => progress.push(done));
      return { svd, progress };
    } finally {
      engine.dispose();
    }
  }

  it.each(["fp32", "bf16"] as const)("of an engine in %s", async (dtype) => {
    const onDevice: Partial<EngineSpec> = { dtype, device: "cudasim", driver: cudasimLibrary() };
    const log = new LaunchLog(process.env.CUDASIM_LOG!);
    log.take();
    const [cuda, cpu] = [await factors(onDevice), await factors({ threads: 1 })];
    expect(cuda).toEqual(cpu);
    expect(cuda.progress.at(-1)).toBe(MODULES.length);

    const launches = log.take().map(({ kernel }) => kernel);
    const counts = KERNELS.map((name) => launches.filter((kernel) => kernel === name).length);
    expect(counts[0]).toBeGreaterThan(2 * MODULES.length);
    expect(counts).toEqual(KERNELS.map(() => counts[0]));
  });
});
