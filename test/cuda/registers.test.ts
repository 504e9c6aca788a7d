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
  "no kernel that trains weights spills on sm_80, and two blocks of dW fit on a multiprocessor",
  () => {
    const others = ["weight_gradient_f32.cu", "lora_gradient.cu", "gain_gradient.cu", "head_gain_gradient.cu"];
    const kernels: (Kernel & { shared: number })[] = measure(
      ["sm_80"],
      ["weight_gradient.cu", ...others, "optimizer.cu"],
    );
    for (const { name, spills } of kernels) expect(spills, name).toBe(0);
    const tilings = kernels.filter(({ name }) => /^weight_gradient_(mid|large)_bf16$/.test(name));
    expect(tilings.map(({ shared }) => shared).sort()).toEqual([32768, 65536]);
    for (const { name, blocks } of tilings) expect(blocks, name).toBeGreaterThanOrEqual(2);
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
