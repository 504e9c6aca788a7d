// What holds on a GPU, too: numerics of the kernels where tensor cores and approximations round as measured on GPUs, which
// is less exact than the stand-in's own way, and sums that ptxas, and the driver's compiler, must take as they are written.
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { cudasimTitle, hasCudasim } from "../cudasim/build.js";
import { linesOf, nativeTests, onStandIn, standInTitle } from "./native-tests.js";

describe.skipIf(!onStandIn)(standInTitle("native, rounded as on GPUs"), () => {
  const sm80 = ["linear", "attention", "attention backward", "head", "weight gradient"].map((op) => `${op}: numerics`);
  const filters = [
    ...[...sm80, "low rank: ", "gradient: that of the reference"].map((name) => ["80", name, "cuda bf16"]),
    ["80", "linear: numerics", "cuda fp16"],
    ["90", "linear: numerics", "cuda bf16"],
    ["90", "cuda product: every tiling", "sm_90a"],
  ];
  it.each(filters)("sm_%s, %s %s", async (architecture, ...filter) => {
    const device = { CUDASIM_ARCH: architecture!, CUDASIM_MULTIPROCESSORS: "3" };
    const { stdout } = await nativeTests(filter, { ...device, CUDASIM_ROUNDING: "1", CUDASIM_FOLLOW: "1" });
    expect(linesOf(stdout).filter((line) => !line.startsWith("ok "))).toEqual([
      expect.stringMatching(/^[1-9]\d* passed, 0 failed$/),
    ]);
  });
});

const contracted = "no sum of the kernels may be contracted: each names its rounding";
it.skipIf(!hasCudasim)(cudasimTitle(contracted), () => {
  const folder = join(import.meta.dirname, "../../.cache/cmake/cuda");
  const files = readdirSync(folder).filter((file) => file.endsWith(".ptx"));
  expect(files).toContain("norm.compute_80.ptx");
  for (const file of files) {
    const ptx = readFileSync(join(folder, file), "utf8");
    const free = /^\s*(?:@\S+ )?(?:add|sub|mul)(?:\.ftz|\.sat)*\.f(?:32|64)\b.*/m;
    expect(free.exec(ptx)?.[0], file).toBeUndefined();
  }
});
