// The products of sm_90a and dW, on the stand-in as such a device: with three multiprocessors, so that a block makes many
// tiles and the largest tiling is chosen, and with blocks in order and in two others.
import { describe, expect, it } from "vitest";
import { linesOf, nativeTests, onStandIn } from "./native-tests.js";

describe.skipIf(!onStandIn)("native, on sm_90", () => {
  const filters = [
    ["cuda product", "sm_90a"],
    ...["cuda bf16", "cuda fp16"].flatMap((on) =>
      ["linear: ", "lora: ", "weight gradient: "].map((name) => [name, on]),
    ),
  ];
  it.each(["0", "1", "2"])("products, order %s", { timeout: 300_000 }, async (order) => {
    const environment = { CUDASIM_ARCH: "90", CUDASIM_MULTIPROCESSORS: "3", CUDASIM_ORDER: order };
    for (const filter of filters) {
      const { stdout } = await nativeTests(filter, environment);
      expect(linesOf(stdout).filter((line) => !line.startsWith("ok "))).toEqual([
        expect.stringMatching(/^[1-9]\d* passed, 0 failed$/),
      ]);
    }
  });
});
