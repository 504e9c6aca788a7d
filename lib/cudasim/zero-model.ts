/** The weights of a model of given shape, all zeros: a file with a hole. */
import { closeSync, ftruncateSync, openSync } from "node:fs";
import type { ModelConfig, TensorSource } from "../native/addon.js";

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
export function zeroTensors(
  { vocab, hidden, intermediate, heads, kvHeads, headDim, family }: ModelShape,
  layers: number,
  file: string,
): TensorSource[] {
  const query = heads * headDim;
  const key = kvHeads * headDim;
  const layer = (index: number): [string, number[]][] => {
    const bias: [string, number[]][] = [
      ["self_attn.q_proj.bias", [query]],
      ["self_attn.k_proj.bias", [key]],
      ["self_attn.v_proj.bias", [key]],
    ];
    const weights: [string, number[]][] = [
      ["input_layernorm.weight", [hidden]],
      ["self_attn.q_proj.weight", [query, hidden]],
      ["self_attn.k_proj.weight", [key, hidden]],
      ["self_attn.v_proj.weight", [key, hidden]],
      ["self_attn.o_proj.weight", [hidden, query]],
      ["post_attention_layernorm.weight", [hidden]],
      ["mlp.gate_proj.weight", [intermediate, hidden]],
      ["mlp.up_proj.weight", [intermediate, hidden]],
      ["mlp.down_proj.weight", [hidden, intermediate]],
      ...(family === "qwen2" ? bias : []),
    ];
    return weights.map(([name, size]) => [`model.layers.${index}.${name}`, size]);
  };
  const tensors: [string, number[]][] = [
    ["model.embed_tokens.weight", [vocab, hidden]],
    ["model.norm.weight", [hidden]],
    ...Array.from({ length: layers }, (_, index) => layer(index)).flat(),
  ];
  const bytesOf = (size: number[]) => 2 * size.reduce((product, side) => product * side, 1);
  const descriptor = openSync(file, "w");
  ftruncateSync(descriptor, Math.max(...tensors.map(([, size]) => bytesOf(size))));
  closeSync(descriptor);
  return tensors.map(([name, size]) => ({ name, file, offset: 0, bytes: bytesOf(size), type: "BF16", shape: size }));
}
