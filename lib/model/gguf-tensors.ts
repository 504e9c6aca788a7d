// Tensors of a GGUF file under Hugging Face's names, checked against the file's size.
import { TinyLoraError } from "../error.js";
import type { ModelConfig, TensorSource } from "../native/model-source.js";
import { lookup } from "./fields.js";
import type { GgufHeader, GgufTensor } from "./gguf-header.js";

/** ggml's number -> name, numbers in a block, bytes of a block. */
const FORMATS: Readonly<Record<number, readonly [TensorSource["type"], number, number]>> = {
  0: ["F32", 1, 4],
  1: ["F16", 1, 2],
  2: ["Q4_0", 32, 18],
  3: ["Q4_1", 32, 20],
  6: ["Q5_0", 32, 22],
  7: ["Q5_1", 32, 24],
  8: ["Q8_0", 32, 34],
  12: ["Q4_K", 256, 144],
  13: ["Q5_K", 256, 176],
  14: ["Q6_K", 256, 210],
  30: ["BF16", 1, 2],
};

const NAMES: Readonly<Record<string, string>> = {
  "token_embd.weight": "model.embed_tokens.weight",
  "output_norm.weight": "model.norm.weight",
  "output.weight": "lm_head.weight",
};
const LAYER_NAMES: Readonly<Record<string, string>> = {
  attn_norm: "input_layernorm",
  attn_q: "self_attn.q_proj",
  attn_k: "self_attn.k_proj",
  attn_v: "self_attn.v_proj",
  attn_output: "self_attn.o_proj",
  attn_q_norm: "self_attn.q_norm",
  attn_k_norm: "self_attn.k_norm",
  ffn_norm: "post_attention_layernorm",
  ffn_gate: "mlp.gate_proj",
  ffn_up: "mlp.up_proj",
  ffn_down: "mlp.down_proj",
};
/** Divisors of the rope frequencies: part of the config, not of the weights. */
export const ROPE_DIVISORS = "rope_freqs.weight";

export function ggufTensors(header: GgufHeader, config: ModelConfig): TensorSource[] {
  checkOverlap(header);
  return header.tensors
    .filter((tensor) => tensor.name !== ROPE_DIVISORS)
    .map((tensor) => {
      const name = huggingFaceName(header.file, tensor.name);
      const heads = permutedHeads(name, config);
      const source = tensorSource(header, tensor, name);
      return heads === undefined ? source : { ...source, permutedHeads: heads };
    });
}

export function tensorSource(header: GgufHeader, tensor: GgufTensor, name: string): TensorSource {
  const { file, size } = header;
  const format = FORMATS[tensor.type];
  if (!format) {
    const known = Object.values(FORMATS).map(([type]) => type);
    fail(
      file,
      `tensor ${tensor.name}: format: expected one of ${known.join(", ")}, found ggml's number ${tensor.type}`,
    );
  }
  const [type, block, blockBytes] = format;
  const shape = [...tensor.dimensions].reverse();
  const row = tensor.dimensions[0] ?? 1;
  if (row % block !== 0)
    fail(file, `tensor ${tensor.name}: rows of ${type}: expected a multiple of ${block}, found ${row}`);
  const bytes = (shape.reduce((product, dimension) => product * dimension, 1) / block) * blockBytes;
  const left = size - tensor.offset;
  if (!(bytes <= left)) {
    fail(
      file,
      `tensor ${tensor.name}: expected ${bytes} bytes at ${tensor.offset}, found ${Math.max(0, left)} to the end`,
    );
  }
  return { name, file, offset: tensor.offset, bytes, type, shape };
}

function huggingFaceName(file: string, name: string): string {
  const layer = /^blk\.(\d{1,6})\.([a-z_]+)\.(weight|bias)$/.exec(name);
  const translated = layer ? lookup(LAYER_NAMES, layer[2]) : lookup(NAMES, name);
  if (translated === undefined) fail(file, `tensor ${name}: expected a tensor of a Llama, Qwen2 or Qwen3 model`);
  return layer ? `model.layers.${layer[1]}.${translated}.${layer[3]}` : translated;
}

/** llama.cpp's converter permutes the rows of q and k of the Llama family, head by head. */
function permutedHeads(name: string, config: ModelConfig): number | undefined {
  if (config.family !== "llama") return undefined;
  if (name.includes(".q_proj.")) return config.heads;
  return name.includes(".k_proj.") ? config.kvHeads : undefined;
}

function checkOverlap(header: GgufHeader): void {
  let end = 0;
  const sources = header.tensors.map((tensor) => tensorSource(header, tensor, tensor.name));
  for (const tensor of sources.sort((a, b) => a.offset - b.offset)) {
    if (tensor.offset < end) {
      fail(
        header.file,
        `tensor ${tensor.name}: expected to begin after byte ${end}, found ${tensor.offset}: tensors overlap`,
      );
    }
    end = tensor.offset + tensor.bytes;
  }
}

function fail(file: string, message: string): never {
  throw new TinyLoraError("ERR_MODEL", `${file}: ${message}`);
}
