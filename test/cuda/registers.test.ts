// No kernel may spill registers, and the products leave room for two blocks on a multiprocessor. Needs nvcc, no GPU; left
// out without nvcc.
import { beforeAll, describe, expect, it } from "vitest";
// @ts-expect-error plain JavaScript
import { measure } from "../../benchmarks/cuda/registers.mjs";
import { hasNvcc } from "../cudasim/build.js";

interface Kernel {
  file: string;
  name: string;
  spills: number;
  shared: number;
  blocks: number;
}

describe.skipIf(!hasNvcc)(hasNvcc ? "kernels" : "kernels (left out: there is no nvcc)", () => {
  let ampere: Kernel[];
  let hopper: Kernel[];
  let blackwell: Kernel[];
  beforeAll(() => {
    ampere = measure(["sm_80"]);
    hopper = measure(["sm_90a"]);
    blackwell = measure(["sm_100"]);
  }, 600_000);

  it("spill nothing", () => {
    expect(ampere.map(({ name }) => name)).toEqual(
      expect.arrayContaining(["product_large_bf16", "rms_norm_tall_bf16"]),
    );
    expect(ampere.length).toBeGreaterThan(50);
    expect(hopper.map(({ file }) => file)).toContain("product_sm90.cu");
    expect(blackwell.map(({ name }) => name)).toEqual(expect.arrayContaining(ampere.map(({ name }) => name)));
    for (const { name, spills } of [...ampere, ...hopper, ...blackwell]) expect(spills, name).toBe(0);
  });

  it("products leave room for a second block on sm_80", () => {
    const products = ampere.filter(({ file }) => file === "product_half.cu");
    expect(products.map(({ name }) => name)).toEqual(
      expect.arrayContaining(["product_large_bf16", "product_large_f16"]),
    );
    for (const { name, blocks } of products) expect(blocks, name).toBeGreaterThanOrEqual(2);
  });

  it("the SVD's kernels leave room for three blocks and more on sm_80", () => {
    const kernels = ampere.filter(({ file }) => file === "gram.cu");
    expect(kernels.map(({ name }) => name).sort()).toEqual(["gram_columns", "gram_rows", "gram_sum"]);
    for (const { name, blocks } of kernels) expect(blocks, name).toBeGreaterThanOrEqual(3);
  });

  it("attention without tensor cores leaves registers for a second block on sm_80", () => {
    const kernels = ampere.filter(({ file }) => file === "attention_simt.cu");
    expect(kernels.map(({ name }) => name)).toEqual(
      expect.arrayContaining(["attention_simt_f32_128", "attention_simt_decode_f32_128"]),
    );
    for (const { name, blocks } of kernels) expect(blocks, name).toBeGreaterThanOrEqual(2);
  });

  it.each(["bf16", "f16"])("dW in %s has its two tilings, and two blocks of each fit on sm_80", (type) => {
    const tilings = ampere.filter(({ name }) => new RegExp(`^weight_gradient_(mid|large)_${type}$`).test(name));
    expect(tilings.map(({ shared }) => shared).sort()).toEqual([32768, 65536]);
    for (const { name, blocks } of tilings) expect(blocks, name).toBeGreaterThanOrEqual(2);
  });

  it("products of sm_90a: the large one has a multiprocessor for itself", () => {
    const products = hopper.filter(({ file }) => file === "product_sm90.cu");
    expect(products.map(({ name }) => name)).toEqual(
      expect.arrayContaining(["product_large_bf16_sm90", "product_large_f16_sm90"]),
    );
    for (const { name, blocks } of products) {
      expect(blocks, name).toBe(name.includes("large") ? 1 : 2);
    }
  });
});
