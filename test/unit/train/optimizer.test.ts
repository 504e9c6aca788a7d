import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { resolveConfig } from "../../../lib/config/config.js";
import { randomUniform } from "../../../lib/philox.js";
import { norm } from "../../../lib/train/norm.js";
import { clipNorm, initialState, type OptimizerOptions, update } from "../../../lib/train/optimizer.js";
import { learningRate } from "../../../lib/train/schedule.js";

interface Case {
  options: OptimizerOptions & { learning_rate: number };
  start: number[];
  gradients: number[][];
  v: number[];
}
const golden = JSON.parse(readFileSync(new URL("../../golden/losses.json", import.meta.url), "utf8")) as {
  optimizers: Case[];
};

describe("initialState", () => {
  it("has one moment for sgd, two for adamw, a matrix for natural", () => {
    const sizes = (optim: OptimizerOptions["optim"]) =>
      initialState(new Float32Array(3), resolveConfig({ optim })).moments.map(({ length }) => length);
    expect(sizes("sgd")).toEqual([3]);
    expect(sizes("adamw")).toEqual([3, 3]);
    expect(sizes("natural")).toEqual([9]);
  });
});

describe("update", () => {
  it.each(golden.optimizers)("as torch: $options", ({ options, start, gradients, v }) => {
    let state = initialState(Float32Array.from(start), options);
    for (const gradient of gradients)
      state = update(state, Float64Array.from(gradient), options.learning_rate, options);
    expect(state.updates).toBe(gradients.length);
    for (const [i, expected] of v.entries()) expect(Math.abs(state.master[i]! - expected)).toBeLessThan(1e-7);
  });

  it("leaves the state before it alone", () => {
    const options = resolveConfig({});
    const before = initialState(new Float32Array(2), options);
    update(before, Float64Array.of(1, -1), 0.1, options);
    expect(before).toEqual(initialState(new Float32Array(2), options));
  });

  it("refuses a gradient of another length", () => {
    const options = resolveConfig({});
    expect(() => update(initialState(new Float32Array(2), options), new Float64Array(3), 0.1, options)).toThrow(
      /expected 2/,
    );
  });
});

describe("clipNorm", () => {
  it("cuts what is longer and says how long it was", () => {
    expect(clipNorm(Float64Array.of(3, 4), 1)).toEqual({ gradient: Float64Array.of(3 / 5, 4 / 5), norm: 5 });
    expect(clipNorm(Float64Array.of(30, 40), 5)).toEqual({ gradient: Float64Array.of(3, 4), norm: 50 });
    expect(clipNorm(Float64Array.of(3, 4), 0).gradient).toEqual(Float64Array.of(3, 4));
    expect(clipNorm(Float64Array.of(0, 0), 1).gradient).toEqual(Float64Array.of(0, 0));
  });
});

describe("norm", () => {
  it("has the bits of Math.hypot", () => {
    for (const n of [0, 1, 2, 3, 13, 1000, 20_000]) {
      const values = Float64Array.from({ length: n }, (_, i) => randomUniform(n, "init", i) - 0.5);
      expect(norm(values)).toBe(Math.hypot(...values));
    }
    const small = Float64Array.of(3e-200, 4e-200); // whose squares are 0
    expect(norm(small)).toBe(Math.hypot(...small));
    expect(norm(Float32Array.of(1, Number.NaN, 2))).toBeNaN();
    expect(norm(Float32Array.of(1, Number.POSITIVE_INFINITY))).toBe(Number.POSITIVE_INFINITY);
  });

  it("takes more numbers than a call has arguments", () => {
    expect(norm(new Float64Array(1_000_000).fill(2))).toBe(2000);
  });
});

describe("learningRate", () => {
  it("rises, then stays or falls to 0", () => {
    const options = { learning_rate: 1, warmup_steps: 4, max_steps: 12, lr_scheduler_type: "constant" as const };
    expect([1, 2, 4, 5, 12].map((step) => learningRate(step, options))).toEqual([0.25, 0.5, 1, 1, 1]);
    const cosine = { ...options, lr_scheduler_type: "cosine" as const };
    expect(learningRate(4, cosine)).toBe(1);
    expect(learningRate(5, cosine)).toBe(1);
    expect(learningRate(9, cosine)).toBeCloseTo(0.5);
    expect(learningRate(13, cosine)).toBeCloseTo(0);
    expect(learningRate(1, { ...options, warmup_steps: 0 })).toBe(1);
  });
});
