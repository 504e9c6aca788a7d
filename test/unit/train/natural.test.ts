import { describe, expect, it } from "vitest";
import { resolveConfig } from "../../../lib/config/config.js";
import { randomUniform } from "../../../lib/philox.js";
import { fisherMatrix, naturalDirection, solveCholesky } from "../../../lib/train/natural.js";
import { initialState, update } from "../../../lib/train/optimizer.js";
import { makeTrainable } from "../../../lib/train/trainable.js";
import { FakePolicy } from "./fake-policy.js";

const vector = (n: number, stream: number) =>
  Float64Array.from({ length: n }, (_, i) => 2 * randomUniform(5, "init", stream, i) - 1);
const scores = (count: number, n: number) => Array.from({ length: count }, (_, s) => vector(n, s));
const times = (a: Float64Array, x: Float64Array) =>
  x.map((_, i) => x.reduce((sum, value, j) => sum + a[i * x.length + j]! * value, 0));

describe("fisherMatrix", () => {
  it("is the sum of outer products over the tokens", () => {
    const fisher = fisherMatrix([Float64Array.of(1, 2), Float64Array.of(-3, 0.5)], 4);
    expect([...fisher]).toEqual([10 / 4, 0.5 / 4, 0.5 / 4, 4.25 / 4]);
  });
});

describe("solveCholesky", () => {
  it.each([1, 2, 13, 64])("solves %i equations", (n) => {
    const a = fisherMatrix(scores(2 * n, n), 1);
    const b = vector(n, 999);
    for (const [i, value] of times(a, solveCholesky(a, b)).entries())
      expect(Math.abs(value - b[i]!)).toBeLessThan(1e-11);
  });

  it("refuses a matrix without an inverse", () => {
    const a = fisherMatrix([Float64Array.of(1, 1)], 1);
    expect(() => solveCholesky(a, Float64Array.of(1, 2))).toThrow(/pivot of 0 at 1: raise fisher_damping/);
  });
});

describe("naturalDirection", () => {
  it("does not depend on how v is scaled", () => {
    const n = 5;
    const plain = scores(40, n);
    const factors = [1, 10, 0.1, 3, 100];
    const scaled = plain.map((score) => score.map((value, i) => value * factors[i]!));
    const gradient = vector(n, 77);
    const want = naturalDirection(fisherMatrix(plain, 1), 1, 0, gradient);
    const scaledGradient = gradient.map((value, i) => value * factors[i]!);
    const found = naturalDirection(fisherMatrix(scaled, 1), 1, 0, scaledGradient);
    for (let i = 0; i < n; i++) expect(found[i]! * factors[i]!).toBeCloseTo(want[i]!, 10);
  });

  it("is damped by a share of the mean diagonal", () => {
    const fisher = Float64Array.of(3, 0, 0, 1);
    const [first, second] = naturalDirection(fisher, 2, 0.5, Float64Array.of(1, 1));
    expect(first).toBeCloseTo(1 / (6 + 2), 12);
    expect(second).toBeCloseTo(1 / (2 + 2), 12);
  });

  it("is nothing where nothing moves", () => {
    expect([...naturalDirection(new Float64Array(4), 1, 0.1, new Float64Array(2))]).toEqual([0, 0]);
  });
});

describe("update", () => {
  const options = resolveConfig({ optim: "natural", fisher_damping: 0, fisher_decay: 0.5, max_grad_norm: 0 });
  const fishers = [Float64Array.of(4, 0, 0, 1), Float64Array.of(1, 0, 0, 4)];

  it("keeps a running mean of Fisher matrices, without the bias of its start", () => {
    let state = initialState(new Float32Array(2), options);
    expect(state.moments[0]).toHaveLength(4);
    state = update(state, Float64Array.of(1, 1), 1, options, fishers[0]);
    expect([...state.master]).toEqual([-1 / 4, -1]);
    state = update(state, Float64Array.of(1, 1), 1, options, fishers[1]);
    // (0.25 * 4 + 0.5 * 1) / 0.75 = 2 and (0.25 * 1 + 0.5 * 4) / 0.75 = 3
    expect(state.master[0]).toBeCloseTo(-1 / 4 - 1 / 2, 6);
    expect(state.master[1]).toBeCloseTo(-1 - 1 / 3, 6);
  });

  it("cuts a step that is too long in the metric of the Fisher matrix", () => {
    const state = initialState(new Float32Array(2), options);
    const gradient = Float64Array.of(2, 1); // g F^-1 g = 1 + 1
    const whole = update(state, gradient, 1, options, fishers[0]).master;
    const cut = update(state, gradient, 1, { ...options, max_grad_norm: 0.5 }, fishers[0]).master;
    for (const [i, value] of cut.entries()) expect(value).toBeCloseTo((whole[i]! * 0.5) / Math.SQRT2, 6);
    expect(update(state, gradient, 1, { ...options, max_grad_norm: 2 }, fishers[0]).master).toEqual(whole);
  });

  it("keeps 0.9 of the mean and adds 0.01 of its diagonal where no option says otherwise", () => {
    const [plain, told] = [{}, { fisher_damping: 0.01, fisher_decay: 0.9 }].map((more) => {
      const given = resolveConfig({ optim: "natural", max_grad_norm: 0, ...more });
      let state = initialState(new Float32Array(2), given);
      for (const fisher of fishers) state = update(state, Float64Array.of(1, 1), 1, given, fisher);
      return state;
    });
    expect(plain!.master.every(Number.isFinite)).toBe(true);
    expect(plain).toEqual(told);
  });

  it("needs a Fisher matrix", () => {
    const state = initialState(new Float32Array(2), options);
    expect(() => update(state, Float64Array.of(1, 1), 1, options)).toThrow(/expected a Fisher matrix/);
  });
});

it("a step is cut to max_grad_norm as the Fisher matrix measures it, not by the gradient's own length", () => {
  const policy = new FakePolicy();
  const gradient = Float64Array.of(3, 4, 0, 0, 0);
  const scores = Array.from({ length: 5 }, (_, i) => Float64Array.from({ length: 5 }, (_, j) => (i === j ? 100 : 0)));
  const stepOf = (max_grad_norm: number) => {
    const trainable = makeTrainable(policy, policy.adapter(), resolveConfig({ optim: "natural", max_grad_norm }));
    return trainable.update(trainable.firstState(), 1, { gradient, scores, tokens: 5 });
  };
  const [free, loose, tight] = [stepOf(0), stepOf(1), stepOf(0.01)]; // by the matrix it is about 0.1 long
  expect(loose.state.master).toEqual(free.state.master);
  for (const { norm, gradient: used } of [free, loose, tight]) expect([norm, used]).toEqual([5, gradient]);
  expect(Math.hypot(...tight.state.master)).toBeLessThan(Math.hypot(...free.state.master) / 5);
});
