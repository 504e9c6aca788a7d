// The predicted speed of a population on a GPU (benchmarks/cuda/estimate-population.ts): that the model is sane, and what
// it says of one case, SmolLM2-135M on an H100. Left out without nvcc.
import { beforeAll, describe, expect, it } from "vitest";
import { GPUS, type Gpu } from "../../benchmarks/cuda/estimate.js";
import { estimatePopulation, type PopulationEstimate, seconds } from "../../benchmarks/cuda/estimate-population.js";
import { countSteps, MEMBERS, PROMPT, SAMPLES, type StepCounts } from "../../benchmarks/cuda/population-counts.js";
import { type Residents, residents } from "../../benchmarks/cuda/product-time.js";
// @ts-expect-error plain JavaScript
import { measure } from "../../benchmarks/cuda/registers.mjs";
import { MODELS } from "../../bin/shapes.js";
import { cudasimTitle, hasCudasim } from "../cudasim/build.js";

const NAME = "smollm2-135m";
const h100 = GPUS[1]!;
const NEW_TOKENS = 256;

describe.skipIf(!hasCudasim)(cudasimTitle("a predicted population"), () => {
  let counts: StepCounts;
  let blocks: Residents;
  let found: PopulationEstimate;
  beforeAll(() => {
    counts = countSteps(90, [NAME])[0]!;
    blocks = residents(measure(["sm_90a"]));
    found = estimate();
  });

  const estimate = (gpu: Gpu = h100, newTokens = NEW_TOKENS, learning = 1) =>
    estimatePopulation(gpu, counts, newTokens, learning, blocks);

  it("shares decode steps and nothing else", () => {
    const { alone, together } = found;
    for (const part of ["prefill", "forward", "backward"] as const) {
      expect(together[part], part).toBeCloseTo(MEMBERS * alone[part], 9);
    }
    expect(together.decode).toBeGreaterThan(alone.decode);
    expect(together.decode).toBeLessThan(MEMBERS * alone.decode);
    const { prefill, decode, forward, backward } = together;
    expect(found.ratio).toBeCloseTo((MEMBERS * seconds(alone)) / (prefill + decode + forward + backward), 9);
    expect(found.ratio).toBeGreaterThan(1);
    expect(found.ratio).toBeLessThan(found.decodeRatio);
    expect(found.decodeRatio).toBeLessThan(MEMBERS);
  });

  it("takes longer for more tokens, and less where fewer groups learn", () => {
    const longer = estimate(h100, 2 * NEW_TOKENS);
    const some = estimate(h100, NEW_TOKENS, 0.5);
    for (const way of ["alone", "together"] as const) {
      expect(longer[way].decode).toBeGreaterThan(2 * found[way].decode);
      // Products take as long a row, attention longer.
      const rows = (newTokens: number) => PROMPT + SAMPLES * newTokens;
      for (const part of ["forward", "backward"] as const) {
        const times = longer[way][part] / found[way][part];
        expect(times, part).toBeGreaterThan(rows(2 * NEW_TOKENS) / rows(NEW_TOKENS));
      }
      expect(longer[way].prefill).toBe(found[way].prefill);
      expect(some[way]).toEqual({ ...found[way], forward: found[way].forward / 2, backward: found[way].backward / 2 });
    }
    expect(some.ratio).toBeGreaterThan(found.ratio);
  });

  it.each([
    { better: "memory", gpu: { ...h100, bandwidth: 2 * h100.bandwidth } },
    { better: "clock", gpu: { ...h100, hertz: 2 * h100.hertz } },
    { better: "tensor cores", gpu: { ...h100, tensor: 2 * h100.tensor } },
  ])("is no slower with twice the $better", ({ gpu }) => {
    const faster = estimate(gpu);
    for (const way of ["alone", "together"] as const) {
      for (const [part, time] of Object.entries(faster[way])) {
        expect(time, part).toBeLessThanOrEqual(found[way][part as keyof typeof faster.alone]);
      }
    }
  });

  it("is never faster than memory and tensor cores allow", () => {
    const { hidden, intermediate, heads, kvHeads, headDim, vocab } = MODELS[NAME]!;
    const layer = hidden * (2 * heads * headDim + 2 * kvHeads * headDim + 3 * intermediate);
    const weights = 30 * layer + vocab * hidden;
    expect(found.alone.decode).toBeGreaterThan((NEW_TOKENS * 2 * weights) / h100.bandwidth);
    const tensor = h100.tensor * h100.multiprocessors * h100.hertz; // multiply-adds a second
    const rows = 4 * (128 + 4 * NEW_TOKENS);
    expect(found.alone.forward).toBeGreaterThan((rows * 30 * layer + 32 * NEW_TOKENS * vocab * hidden) / tensor);
    expect(found.alone.backward).toBeGreaterThan((rows * 30 * layer) / tensor);
  });

  it("16 runs take 3.6 s one after another and 0.73 s side by side: a fifth, decoding an eighth", () => {
    expect(MEMBERS * seconds(found.alone)).toBeLessThan(3.6);
    expect(seconds(found.together)).toBeLessThan(0.73);
    expect(found.ratio).toBeGreaterThanOrEqual(4.9);
    expect(found.decodeRatio).toBeGreaterThanOrEqual(8);
  });
});
