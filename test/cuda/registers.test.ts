// No product of a layer, nor a pass that makes the input of one, may spill registers. Needs nvcc, no GPU; left out without nvcc.
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
    const kernels: Kernel[] = measure(["sm_80"], ["product_bf16.cu"]);
    expect(kernels.map(({ name }) => name)).toContain("product_large_bf16");
    for (const { name, spills, blocks } of kernels) {
      expect(spills, name).toBe(0);
      expect(blocks, name).toBeGreaterThanOrEqual(2);
    }
  },
  180_000,
);

it.skipIf(!hasNvcc)(
  "no pass that makes the input of a product spills on sm_80",
  () => {
    const kernels: Kernel[] = measure(["sm_80"], ["norm.cu", "swiglu.cu", "low_rank.cu", "rope.cu", "rows.cu"]);
    expect(kernels.map(({ name }) => name)).toContain("rms_norm_tall_bf16");
    for (const { name, spills } of kernels) expect(spills, name).toBe(0);
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
