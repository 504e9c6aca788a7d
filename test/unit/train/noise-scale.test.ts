import { describe, expect, it } from "vitest";
import { randomUniform } from "../../../lib/philox.js";
import { noiseScale } from "../../../lib/train/noise-scale.js";

describe("noiseScale", () => {
  it("is that of a case by hand", () => {
    // gradients of the problems (n times their shares): (2, 0), (4, 0), (0, 3); mean (2, 1)
    const shares = [Float64Array.of(2 / 3, 0), Float64Array.of(4 / 3, 0), Float64Array.of(0, 1)];
    const { "gradient/variance": variance, "gradient/squared_norm": square, ...rest } = noiseScale(shares);
    expect(variance).toBeCloseTo((0 + 1 + 4 + 1 + 4 + 4) / 2, 12);
    expect(square).toBeCloseTo(5 - 7 / 3, 12);
    expect(rest["gradient/noise_scale"]).toBeCloseTo(7 / (5 - 7 / 3), 12);
  });

  it("has estimates without bias, whatever the number of problems", () => {
    const truth = [0.3, -0.2]; // |G|^2 = 0.13; each number has the variance 1/3: tr = 2/3
    for (const n of [2, 8]) {
      let [variance, square] = [0, 0];
      const trials = 20_000;
      for (let trial = 0; trial < trials; trial++) {
        const shares = Array.from({ length: n }, (_, i) =>
          Float64Array.from(truth, (mean, j) => (mean + 2 * randomUniform(n, "init", trial, 2 * i + j) - 1) / n),
        );
        const estimate = noiseScale(shares);
        variance += estimate["gradient/variance"]! / trials;
        square += estimate["gradient/squared_norm"]! / trials;
      }
      expect(Math.abs(variance - 2 / 3)).toBeLessThan(0.02);
      expect(Math.abs(square - 0.13)).toBeLessThan(0.02);
    }
  });

  it("is there for a weak signal above the noise", () => {
    const shares = [Float64Array.of(0.3), Float64Array.of(0.2)]; // gradients 0.6 and 0.4
    expect(noiseScale(shares)["gradient/noise_scale"]).toBeCloseTo(0.02 / (0.25 - 0.01), 12);
  });

  it("is nothing where the signal is not above the noise, and with one problem", () => {
    const opposite = noiseScale([Float64Array.of(1), Float64Array.of(-1)]);
    expect(opposite["gradient/squared_norm"]).toBe(-4);
    expect(opposite["gradient/noise_scale"]).toBeNaN();
    const even = noiseScale([Float64Array.of(1), Float64Array.of(0)]);
    expect(even["gradient/squared_norm"]).toBe(0);
    expect(even["gradient/noise_scale"]).toBeNaN();
    expect(noiseScale([Float64Array.of(1)])["gradient/variance"]).toBeNaN();
  });
});
