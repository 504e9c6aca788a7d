// No kernel that the products of every layer run may spill registers. Needs nvcc, no GPU; left out without nvcc.
import { spawnSync } from "node:child_process";
import { expect, it } from "vitest";
// @ts-expect-error plain JavaScript
import { measure } from "../../benchmarks/cuda/registers.mjs";

const hasNvcc = spawnSync("nvcc", ["--version"]).status === 0;

interface Kernel {
  name: string;
  spills: number;
  blocks: number;
}

it.skipIf(!hasNvcc)(
  "no product spills on sm_80, and two blocks fit on a multiprocessor",
  () => {
    const kernels: Kernel[] = measure(["sm_80"], ["product_half.cu"]);
    expect(kernels.map(({ name }) => name)).toEqual(
      expect.arrayContaining(["product_large_bf16", "product_large_f16"]),
    );
    for (const { name, spills, blocks } of kernels) {
      expect(spills, name).toBe(0);
      expect(blocks, name).toBeGreaterThanOrEqual(2);
    }
  },
  180_000,
);

it.skipIf(!hasNvcc)(
  "no product of sm_90a spills",
  () => {
    const kernels: Kernel[] = measure(["sm_90a"], ["product_sm90.cu"]);
    expect(kernels.map(({ name }) => name)).toContain("product_large_sm90");
    for (const { name, spills, blocks } of kernels) {
      expect(spills, name).toBe(0);
      expect(blocks, name).toBe(name.includes("large") ? 1 : 2);
    }
  },
  180_000,
);
