/**
 * How many milliseconds one linear layer takes, plain and with the fused update of rank 2, forward and forward + backward (dx
 * and dR). The counterpart of the peers' linear_peft.py. Prints measurements.
 *
 *   npx tsx benchmarks/products.ts --rows 1,512
 *
 *   --shapes INxOUT,...  inputs and outputs of the layers (576x576,576x1536,1536x576)
 *   --rows N,N,...       rows multiplied at a time (1,64,512,2048)
 *   --seconds S          least time spent on each (0.3)
 *   --dtype bf16|fp32    number type of the weights (bf16)
 *   --threads N          compute threads (2)
 */
import { benchProduct } from "../lib/native/bench.js";
import { machine } from "../lib/native/machine.js";
import { readFlags, refuse } from "./flags.js";
import { emit } from "./measurement.js";

const { values: options } = readFlags({
  options: {
    shapes: { type: "string", default: "576x576,576x1536,1536x576" },
    rows: { type: "string", default: "1,64,512,2048" },
    dtype: { type: "string", default: "bf16" },
    threads: { type: "string", default: "2" },
    seconds: { type: "string", default: "0.3" },
  },
});
const path = machine().paths[0];
if (!path) throw new Error("expected a machine with AVX2 or better");

for (const shape of options.shapes.split(",")) {
  const [, inputs, outputs] = (
    /^([1-9]\d*)x([1-9]\d*)$/.exec(shape) ?? refuse(`--shapes: expected INxOUT, found ${shape}`)
  ).map(Number) as [number, number, number];
  for (const rows of options.rows.split(",").map(Number)) {
    const product = (direction: "forward" | "backward") =>
      benchProduct({
        in: inputs,
        out: outputs,
        rows,
        dtype: options.dtype === "fp32" ? "fp32" : "bf16",
        device: "cpu",
        path,
        threads: Number(options.threads),
        direction,
        rank: 2,
        seconds: Number(options.seconds),
        footprint: 0,
      });
    const forward = await product("forward");
    const backward = await product("backward");
    for (const layer of ["plain", "fused"] as const) {
      const settings = { layer, shape, rows, dtype: options.dtype, path };
      emit("linear/forward", "ms", forward[layer].median * 1e3, settings);
      emit("linear/forward_backward", "ms", (forward[layer].median + backward[layer].median) * 1e3, settings);
    }
  }
}
