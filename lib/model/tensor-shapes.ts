import type { ModelConfig } from "../native/model-source.js";

type Shape = Pick<
  ModelConfig,
  "family" | "vocab" | "hidden" | "intermediate" | "heads" | "kvHeads" | "headDim" | "layers" | "tiedEmbeddings"
>;

/** The weights of a model of this shape, under transformers' names: a linear weight is [out, in]. */
export function tensorShapes(shape: Shape): { readonly name: string; readonly shape: number[] }[] {
  const { vocab, hidden, layers, tiedEmbeddings } = shape;
  const tensors: [string, number[]][] = [
    ["model.embed_tokens.weight", [vocab, hidden]],
    ["model.norm.weight", [hidden]],
    ...Array.from({ length: layers }, (_, index) =>
      layer(shape).map(([name, size]): [string, number[]] => [`model.layers.${index}.${name}`, size]),
    ).flat(),
  ];
  if (!tiedEmbeddings) tensors.push(["lm_head.weight", [vocab, hidden]]);
  return tensors.map(([name, size]) => ({ name, shape: size }));
}

function layer({ family, hidden, intermediate, heads, kvHeads, headDim }: Shape): [string, number[]][] {
  const query = heads * headDim;
  const key = kvHeads * headDim;
  const biases: [string, number[]][] = [
    ["self_attn.q_proj.bias", [query]],
    ["self_attn.k_proj.bias", [key]],
    ["self_attn.v_proj.bias", [key]],
  ];
  const headNorms: [string, number[]][] = [
    ["self_attn.q_norm.weight", [headDim]],
    ["self_attn.k_norm.weight", [headDim]],
  ];
  return [
    ["input_layernorm.weight", [hidden]],
    ["self_attn.q_proj.weight", [query, hidden]],
    ["self_attn.k_proj.weight", [key, hidden]],
    ["self_attn.v_proj.weight", [key, hidden]],
    ["self_attn.o_proj.weight", [hidden, query]],
    ["post_attention_layernorm.weight", [hidden]],
    ["mlp.gate_proj.weight", [intermediate, hidden]],
    ["mlp.up_proj.weight", [intermediate, hidden]],
    ["mlp.down_proj.weight", [hidden, intermediate]],
    ...(family === "qwen2" ? biases : []),
    ...(family === "qwen3" ? headNorms : []),
  ];
}
