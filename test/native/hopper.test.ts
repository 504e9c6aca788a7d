// What is other code on sm_90 than on sm_80, on the stand-in as such a device: products, the head, kernels that may begin before the
// launch before them is done, what multiplies with either. With three multiprocessors, so that a block makes many tiles
// and the largest tiling is chosen, and with blocks in several orders.
import { describe, expect, it } from "vitest";
import { linesOf, nativeTests, onStandIn, standInTitle } from "./native-tests.js";

async function passAll(filter: readonly string[], environment: Readonly<Record<string, string>> = {}): Promise<void> {
  const device = { CUDASIM_ARCH: "90", CUDASIM_MULTIPROCESSORS: "3" };
  const { stdout } = await nativeTests(filter, { ...device, ...environment });
  expect(linesOf(stdout).filter((line) => !line.startsWith("ok "))).toEqual([
    expect.stringMatching(/^[1-9]\d* passed, 0 failed$/),
  ]);
}

describe.skipIf(!onStandIn)(standInTitle("native, on sm_90"), () => {
  describe.each(["cuda product", "cuda head"])("every tiling: %s", (name) => {
    it.each(["0", "1", "2"])("order %s", (order) => passAll([name, "sm_90a"], { CUDASIM_ORDER: order }));
  });

  it.each(["parts: ", "sampler: ", "readers: "])("%s launches one after another", (name) =>
    passAll([name, "cuda bf16"]),
  );

  // Each of them runs in two orders, 1 and 2, of itself.
  describe.each(["bf16", "fp16"])("in %s", (dtype) => {
    it.each([
      "linear: ",
      "lora: ",
      "weight gradient: ",
      "head: ",
      "head_sample: ",
      "rms_norm: ",
      "swiglu: ",
      "attention decode: ",
    ])("%s", (name) => passAll([name, `cuda ${dtype}`]));
  });
});
