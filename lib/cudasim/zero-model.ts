/** The weights of a model of given shape, all zeros: a file with a hole. */
import { closeSync, ftruncateSync, openSync } from "node:fs";
import { tensorShapes } from "../model/tensor-shapes.js";
import type { ModelConfig, TensorSource } from "../native/model-source.js";

export type ModelShape = Pick<
  ModelConfig,
  "family" | "vocab" | "hidden" | "intermediate" | "heads" | "kvHeads" | "headDim"
>;

export function zeroConfig(shape: ModelShape, layers: number): ModelConfig {
  return {
    ...shape,
    layers,
    context: 4096,
    rmsNormEpsilon: 1e-6,
    tiedEmbeddings: true,
    ropeTheta: 10000,
  };
}

/** All tensors are the same zeros, which it writes to `file`. */
export function zeroTensors(shape: ModelShape, layers: number, file: string): TensorSource[] {
  const tensors = tensorShapes(zeroConfig(shape, layers));
  const bytesOf = (size: number[]) => 2 * size.reduce((product, side) => product * side, 1);
  const descriptor = openSync(file, "w");
  ftruncateSync(descriptor, Math.max(...tensors.map((tensor) => bytesOf(tensor.shape))));
  closeSync(descriptor);
  return tensors.map((tensor) => ({ ...tensor, file, offset: 0, bytes: bytesOf(tensor.shape), type: "BF16" }));
}
