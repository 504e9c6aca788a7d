// The addon with the images of all CUDA kernels. Left out without nvcc.
import { statSync } from "node:fs";
import { join } from "node:path";
import { expect, it } from "vitest";
import { hasNvcc } from "../cudasim/build.js";

it.skipIf(!hasNvcc)(hasNvcc ? "is below 25 MB" : "is below 25 MB (left out: there is no nvcc)", () => {
  const { size } = statSync(join(import.meta.dirname, "../../build/Release/tinylora.node"));
  expect(size).toBeLessThan(25e6);
});
