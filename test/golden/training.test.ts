// Gradients of every kind of trained numbers against PyTorch's: all weights, A and B of peft's LoRA, R of LoRA-XS.
import { availableParallelism } from "node:os";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { trainableNames } from "../../lib/adapter/full-weights.js";
import { ADAPTER_KINDS } from "../../lib/adapter/kinds.js";
import { adapterSpec } from "../../lib/adapter/spec.js";
import { type Model, openModel } from "../../lib/model/open.js";
import type { NativeEngine, TrainedTensor } from "../../lib/native/addon.js";
import { loadAddon } from "../../lib/native/load.js";
import { devices } from "../cudasim/build.js";
import { floats, golden, readFixture } from "./fixtures.js";

interface Sample {
  readonly norm: number;
  readonly places: number[];
  readonly values: number[];
}
interface Training {
  readonly sequences: number[][];
  readonly coefficients: string;
  readonly full: Record<string, Sample>;
  readonly lora: {
    readonly rank: number;
    readonly alpha: number;
    readonly values: Record<string, string>;
    readonly gradients: Record<string, Sample>;
  };
  readonly lora_xs: Record<string, { a: string; b: string; r: string; gradient: number[] }>;
}

const LIMIT = 1e-4;
const cases = readFixture<Record<string, Training>>("training.json");

describe.each(devices)("$name in fp32", ({ on, leftOut }) => {
  describe.skipIf(leftOut).each(Object.keys(cases))("%s", (name) => {
    const expected = cases[name]!;
    let model: Model;
    let engine: NativeEngine;
    beforeAll(async () => {
      model = await openModel(golden(`models/${name}`));
      const { config, tensors } = model;
      const sizes = { threads: availableParallelism(), maxSequences: 4, cacheTokens: 512 };
      const spec = { config, tensors, dtype: "fp32", ...on, ...sizes } as const;
      engine = await loadAddon().loadEngine(spec, () => {});
    });
    afterAll(() => engine?.dispose());

    it("all weights", async () => {
      const tensors = engine.trainWeights(trainableNames(model));
      await addGradients(engine, expected, -1);
      expect(tensors.map((tensor) => tensor.name).sort()).toEqual(Object.keys(expected.full).sort());
      for (const [index, tensor] of tensors.entries()) {
        expectClose(tensor, engine.readParameter(index, "gradient"), expected.full[tensor.name]!);
      }
    });

    it("A and B of LoRA", async () => {
      const { rank, alpha, values, gradients } = expected.lora;
      const spec = adapterSpec({ kind: "lora", r: rank });
      const modules = engine.modules.map(({ index, name: module }) => {
        const [a, b] = [floats(values[`${module}.lora_A`]!), floats(values[`${module}.lora_B`]!)];
        return { module: index, group: 0, a, b, p: ADAPTER_KINDS.lora.projection(spec, index) };
      });
      engine.setBasis({ rank, u: 1, groups: 1, slots: 1, modules });
      engine.setVector(0, Float32Array.of(alpha / rank));
      const tensors = engine.trainBasis();
      await addGradients(engine, expected, 0);
      for (const [index, tensor] of tensors.entries()) {
        const found = engine.readParameter(index, "gradient");
        const [rows, columns] = tensor.shape as [number, number];
        const b = tensor.name.endsWith(".lora_B"); // there transposed
        const ordered = b ? found.map((_, i) => found[(i % rows) * columns + Math.floor(i / rows)]!) : found;
        expectClose(tensor, ordered, gradients[tensor.name]!);
      }
    });

    it("R of LoRA-XS", async () => {
      const rank = 4;
      const spec = adapterSpec({ kind: "lora_xs", r: rank });
      const places = engine.modules.map((module) => ({ module, own: expected.lora_xs[module.name]! }));
      engine.setBasis({
        ...{ rank, u: rank * rank, groups: places.length, slots: 1 },
        modules: places.map(({ module: { index }, own: { a, b } }, group) => {
          return { module: index, group, a: floats(a), b: floats(b), p: ADAPTER_KINDS.lora_xs.projection(spec, index) };
        }),
      });
      engine.setVector(0, Float32Array.from(places.flatMap(({ own }) => [...floats(own.r)])));
      await addGradients(engine, expected, 0);
      const gradient = engine.gradient(0);
      const wanted = places.flatMap(({ own }) => own.gradient);
      const scale = Math.max(...wanted.map(Math.abs));
      for (const [i, value] of wanted.entries()) expect(Math.abs(gradient[i]! - value) / scale).toBeLessThan(LIMIT);
    });
  });
});

async function addGradients(engine: NativeEngine, { sequences, coefficients }: Training, slot: number): Promise<void> {
  const count = sequences.length;
  const starts = new Int32Array(count + 1);
  for (const [i, tokens] of sequences.entries()) starts[i + 1] = starts[i]! + tokens.length;
  engine.zeroGradients();
  const { logprobs } = await engine.forward({
    tokens: Int32Array.from(sequences.flat()),
    starts,
    parents: new Int32Array(count).fill(-1),
    slots: new Int32Array(count).fill(slot),
    scored: new Uint8Array(count).fill(1),
    temperatures: new Float32Array(count).fill(1),
    keep: true,
  });
  const weights = floats(coefficients);
  let next = 0;
  await engine.backward(logprobs.map((value) => (Number.isNaN(value) ? 0 : weights[next++]!)));
}

/** Entries and norm, relative to the largest entry known and to the norm. */
function expectClose({ name }: TrainedTensor, found: Float32Array, { norm, places, values }: Sample): void {
  const scale = Math.max(...values.map(Math.abs), norm / Math.sqrt(found.length));
  const largest = Math.max(...places.map((place, i) => Math.abs(found[place]! - values[i]!)));
  worst = Math.max(worst, largest / scale);
  expect(largest / scale, name).toBeLessThan(LIMIT);
  expect(Math.abs(Math.hypot(...found) - norm) / norm, name).toBeLessThan(LIMIT);
}
let worst = 0;
afterAll(() => console.log(`largest deviation of weights' gradients: ${worst.toExponential(1)} of the largest entry`));
