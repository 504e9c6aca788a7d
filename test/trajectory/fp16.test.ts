// Weights trained by fp16 engines on the CUDA kernels, which the stand-in for the driver interprets, or a GPU runs that
// TINYLORA_CUDA_DRIVER names. Needs nvcc for them.
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { decodeSafetensors, tensorFloats } from "../../lib/adapter/safetensors.js";
import { decodeVector, roundVector } from "../../lib/adapter/vector-dtype.js";
import type { TrainOptions } from "../../lib/config/schema.js";
import { cudasimTitle, hasCudasim, kernelDevice } from "../cudasim/build.js";
import { metricsOf, productOf, trainGolden } from "./golden-run.js";

const fp16 = { dtype: "fp16", device: kernelDevice } as const;
const short: TrainOptions = { num_prompts: 2, num_generations: 2, max_steps: 2, eval_steps: 0, num_iterations: 1 };
const kinds: [name: string, options: TrainOptions][] = [
  ["lora", { ...short, adapter: "lora", lora_alpha: 4 }],
  ["full", { ...short, adapter: "full" }],
];
let folder: string;
const path = (name: string) => join(folder, name);

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "tinylora-fp16-"));
});
afterAll(() => rm(folder, { recursive: true }));

describe.skipIf(!hasCudasim)(cudasimTitle(`fp16 on ${kernelDevice}`), () => {
  it.each(kinds)("%s by GRPO: a run that is stopped and goes on ends with the same bits", async (name, options) => {
    const [straight, stopped] = [path(`${name}-straight`), path(`${name}-stopped`)];
    await trainGolden("GRPO", options, { ...fp16, run: straight });
    const first = await trainGolden("GRPO", options, { ...fp16, run: stopped, stop: 1 });
    expect(first).toMatchObject({ stopped: "aborted", step: 1 });
    await trainGolden("GRPO", options, { ...fp16, run: stopped, resume: true });
    const steps = await metricsOf(straight);
    expect(steps).toHaveLength(2);
    for (const step of steps) {
      expect(step).toHaveProperty(["sampling/max_abs_dlogp"], 0);
      expect(step.grad_norm).toBeGreaterThan(0);
    }
    expect(await metricsOf(stopped)).toEqual(steps);
    expect(await productOf(stopped)).toEqual(await productOf(straight));
  });

  it("full: the folder that is left has the trained numbers in fp16, and says so", async () => {
    const run = path("left");
    await trainGolden("SFT", { ...short, adapter: "full", max_steps: 1, save_steps: 1 }, { ...fp16, run });
    const config = JSON.parse(await readFile(join(run, "model", "config.json"), "utf8"));
    expect(config.dtype).toBe("float16");
    const read = async (file: string) => decodeSafetensors(await readFile(join(run, file)), file).tensors;
    const masters = await read("checkpoints/step-1/weights.safetensors");
    const left = await read("model/model.safetensors");
    for (const [name, type] of [
      ["model.embed_tokens.weight", "fp16"],
      ["model.norm.weight", "fp32"],
    ] as const) {
      expect(left.get(name)!.dtype).toBe({ fp16: "F16", fp32: "F32" }[type]);
      expect(decodeVector(left.get(name)!.data, type)).toEqual(
        roundVector(tensorFloats(masters.get(`${name}.master`)!), type),
      );
    }
  });

  it.each(kinds)("%s by SFT: the losses and gradients are those of the cpu in fp32", async (name, options) => {
    const runs = {
      [path(`${name}-sft`)]: fp16,
      [path(`${name}-sft-fp32`)]: { dtype: "fp32", device: "cpu" },
    } as const;
    for (const [run, how] of Object.entries(runs)) await trainGolden("SFT", options, { ...how, run });
    const [found, wanted] = await Promise.all(Object.keys(runs).map(metricsOf));
    expect(found).toHaveLength(2);
    for (const [i, { loss, grad_norm }] of wanted!.entries()) {
      expect(Math.abs(Number(found![i]!.loss) / Number(loss) - 1)).toBeLessThan(0.002);
      expect(Math.abs(Number(found![i]!.grad_norm) / Number(grad_norm) - 1)).toBeLessThan(0.01);
    }
    // The second loss is that of weights after an update.
    expect(wanted![1]!.loss).not.toBe(wanted![0]!.loss);
  });
});
