/** A whole model of zeros, timed: on a small one, for what it measures and where it ends, not how fast. */
import { totalmem } from "node:os";
import { expect, it } from "vitest";
import { WholeModel } from "../../lib/index.js";
import { nativeDevice } from "../../lib/native/device.js";
import { cudasimTitle, hasCudasim } from "../cudasim/build.js";

const shape = {
  family: "qwen2",
  ...{ layers: 2, vocab: 64, hidden: 32, intermediate: 48 },
  ...{ heads: 4, kvHeads: 2, headDim: 8 },
} as const;
const load = (device = "cpu") =>
  WholeModel.load({ shape, dtype: "bf16", rank: 2, mostSequences: 19, ...nativeDevice(device), threads: 2 });

it("times decode steps and training passes of any size that it was made for", async () => {
  using model = await load();
  for (const sequences of [1, 19]) expect(await model.decodeStep(sequences, 0.01)).toBeGreaterThanOrEqual(0);
  for (const rows of [1, 300]) {
    const { forward, backward } = await model.trainingPass(rows, 0);
    expect(forward).toBeGreaterThan(0);
    expect(backward).toBeGreaterThan(0);
  }
});

it.skipIf(!hasCudasim)(cudasimTitle("does so with the kernels of a GPU"), async () => {
  using model = await load("cudasim");
  expect(await model.decodeStep(3, 0)).toBeGreaterThan(0);
  expect((await model.trainingPass(5, 0)).backward).toBeGreaterThan(0);
});

it("spends as long as it is told to", async () => {
  using model = await load();
  const start = performance.now();
  await model.trainingPass(4, 0.3);
  expect(performance.now() - start).toBeGreaterThan(290);
});

it.each([
  ["decode steps", (model: WholeModel, signal: AbortSignal) => model.decodeStep(19, 60, signal)],
  ["training passes", (model: WholeModel, signal: AbortSignal) => model.trainingPass(1 << 15, 60, signal)],
])("stops in the middle of %s", async (_, measure) => {
  using model = await load();
  const stop = new AbortController();
  const timing = measure(model, stop.signal);
  const ended = expect(timing).rejects.toThrow("enough");
  await new Promise((resolve) => setTimeout(resolve, 100));
  const start = performance.now();
  stop.abort(new Error("enough"));
  await ended;
  expect(performance.now() - start).toBeLessThan(5_000);
});

it("stops while it is loaded", async () => {
  const signal = AbortSignal.abort(new Error("enough"));
  const spec = { shape, dtype: "bf16", rank: 2, mostSequences: 19, device: "cpu", threads: 2 } as const;
  await expect(WholeModel.load(spec, signal)).rejects.toThrow("enough");
});

it("refuses weights and passes that the machine has no room for, before it takes any", async () => {
  const refused = { code: "ERR_MEMORY", message: expect.stringMatching(/this machine's memory.*: measure fewer rows/) };
  const vocab = Math.ceil(totalmem() / shape.hidden / 2);
  const spec = { dtype: "bf16", rank: 2, mostSequences: 1, device: "cpu" } as const;
  await expect(WholeModel.load({ ...spec, shape: { ...shape, vocab } })).rejects.toMatchObject(refused);
  using model = await load();
  await expect(model.trainingPass(2 ** 40, 0)).rejects.toMatchObject(refused);
});

it("refuses a device that is not there", async () => {
  await expect(load("cuda:9")).rejects.toMatchObject({ name: "TinyLoraError", code: "ERR_DEVICE" });
});
