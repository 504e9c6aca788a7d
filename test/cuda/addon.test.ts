// The addon with the images of all CUDA kernels. Left out without nvcc.
import { statSync } from "node:fs";
import { join } from "node:path";
import { expect, it } from "vitest";
import { cudasimTitle, hasCudasim } from "../cudasim/build.js";

it.skipIf(!hasCudasim)(cudasimTitle("is below 25 MB"), () => {
  const { size } = statSync(join(import.meta.dirname, "../../build/Release/tinylora.node"));
  expect(size).toBeLessThan(25e6);
});
