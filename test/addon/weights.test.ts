/** Weights that are trained: what is chosen, read and written, the numbers of a step, what is refused meanwhile. */
import { afterAll, beforeAll, expect, it } from "vitest";
import type { NativeEngine, UpdateOptions } from "../../lib/native/addon.js";
import { loadAddon } from "../../lib/native/load.js";
import { quiet, randomBasis, request } from "./sampling.js";
import { writeTinyModel } from "./tiny-model.js";

const addon = loadAddon();
const model = writeTinyModel();
const names = ["model.norm.weight", "model.layers.1.self_attn.k_proj.weight"];
let engine: NativeEngine;

beforeAll(async () => {
  engine = await addon.loadEngine(model.spec({ threads: 1 }), quiet);
});
afterAll(() => {
  engine.dispose();
  model.remove();
});

const parts = ["master", "gradient", "first", "second"] as const;
const matrix = 1;
const numbers = (seed: number) => Float32Array.from({ length: 800 }, (_, i) => Math.sin(seed + i * seed) / 4);

it("tells names and shapes: of a vector, of a matrix, of factors", () => {
  expect(engine.trainWeights(names)).toEqual([
    { name: names[0], shape: [40] },
    { name: names[1], shape: [20, 40] },
  ]);
  const { modules, ...basis } = randomBasis(engine, 1);
  engine.setBasis({ ...basis, modules: modules.slice(4, 5) });
  expect(engine.trainBasis()).toEqual([
    { name: "model.layers.0.mlp.gate_proj.lora_A", shape: [2, 40] },
    { name: "model.layers.0.mlp.gate_proj.lora_B", shape: [2, 56] },
  ]);
});

it("reads what was written, goes back to what was saved", () => {
  engine.trainWeights(names);
  const write = (seed: number) => {
    for (const [i, part] of parts.entries()) engine.writeParameter(matrix, part, numbers(seed + i));
  };
  const read = () => parts.map((part) => engine.readParameter(matrix, part));
  const want = [1, 2, 3, 4].map(numbers);
  write(1);
  expect(read()).toEqual(want);
  engine.saveParameters();
  write(5);
  engine.restoreParameters();
  const [master, , first, second] = read();
  expect([master, first, second]).toEqual([want[0], want[2], want[3]]);
  engine.zeroGradients();
  expect(engine.readParameter(matrix, "gradient")).toEqual(new Float32Array(800));
});

const given = { rate: 0.1, decay: 0.5, maxNorm: 2, momentum: 0.7, beta1: 0.8, beta2: 0.95, epsilon: 0.01, updates: 3 };
const [before, gradient, first, second] = [1, 2, 3, 4].map(numbers) as [
  Float32Array,
  Float32Array,
  Float32Array,
  Float32Array,
];
const length = Math.hypot(...gradient);
const cut = (i: number) => (gradient[i]! * given.maxNorm) / length;
const kept = (i: number) => before[i]! * (1 - given.rate * given.decay);

it.each<[UpdateOptions["optim"], (i: number) => number]>([
  ["sgd", (i) => kept(i) - given.rate * (given.momentum * first[i]! + cut(i))],
  [
    "adamw",
    (i) => {
      const m = (given.beta1 * first[i]! + (1 - given.beta1) * cut(i)) / (1 - given.beta1 ** given.updates);
      const v = given.beta2 * Math.abs(second[i]!) + (1 - given.beta2) * cut(i) ** 2;
      const spread = Math.sqrt(v / (1 - given.beta2 ** given.updates)) + given.epsilon;
      return kept(i) - (given.rate * m) / spread;
    },
  ],
])("makes the step of %s from all of its options", (optim, after) => {
  engine.trainWeights(names);
  engine.writeParameter(matrix, "master", before);
  engine.writeParameter(matrix, "gradient", gradient);
  engine.writeParameter(matrix, "first", first);
  engine.writeParameter(matrix, "second", second.map(Math.abs));
  expect(engine.updateParameters({ optim, ...given })).toBeCloseTo(length, 4);
  for (const [i, found] of engine.readParameter(matrix, "master").entries()) expect(found).toBeCloseTo(after(i), 5);
});

it("changes nothing while something is sampled", () => {
  engine.trainWeights(names);
  engine.setBasis(randomBasis(engine, 2));
  const basis = randomBasis(engine, 2);
  engine.submit(request({ numGenerations: 1000, maxCompletionLength: 300 }), quiet);
  const calls: Record<string, () => unknown> = {
    setBasis: () => engine.setBasis(basis),
    setVectors: () => engine.setVectors(0, new Float32Array(2)),
    trainBasis: () => engine.trainBasis(),
    trainWeights: () => engine.trainWeights(names),
    updateParameters: () => engine.updateParameters({ optim: "sgd", ...given }),
    writeParameter: () => engine.writeParameter(0, "master", new Float32Array(40)),
    restoreParameters: () => engine.restoreParameters(),
  };
  for (const [name, call] of Object.entries(calls)) {
    expect(call).toThrow(
      expect.objectContaining({ code: "ERR_ARGUMENT", message: `${name}: expected no unfinished requests` }),
    );
  }
  engine.cancel(1);
  expect([...engine.setVectors(0, new Float32Array(4))]).toEqual([1, 1]);
});
