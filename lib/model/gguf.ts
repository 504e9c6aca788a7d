import { open, stat } from "node:fs/promises";
import { type GGUFParseOutput, gguf } from "@huggingface/gguf";
import { TinyLoraError } from "../error.js";
import type { ModelConfig, TensorSource } from "../native/addon.js";
import { ggufTokenizer } from "./gguf-tokenizer.js";
import type { Model } from "./open.js";

/** ggml's number of a type: its name, numbers in a block, bytes of a block. */
const TYPES: Readonly<Record<number, [type: TensorSource["type"], block: number, bytes: number]>> = {
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

/** llama.cpp's names of a layer's tensors, and Hugging Face's. */
const LAYER_NAMES: Readonly<Record<string, string>> = {
  attn_norm: "input_layernorm",
  ffn_norm: "post_attention_layernorm",
  attn_q: "self_attn.q_proj",
  attn_k: "self_attn.k_proj",
  attn_v: "self_attn.v_proj",
  attn_output: "self_attn.o_proj",
  attn_q_norm: "self_attn.q_norm",
  attn_k_norm: "self_attn.k_norm",
  ffn_gate: "mlp.gate_proj",
  ffn_up: "mlp.up_proj",
  ffn_down: "mlp.down_proj",
};
const NAMES: Readonly<Record<string, string>> = {
  "token_embd.weight": "model.embed_tokens.weight",
  "output_norm.weight": "model.norm.weight",
  "output.weight": "lm_head.weight",
};

export type GgufMetadata = Readonly<Record<string, unknown>>;
type TensorInfo = GGUFParseOutput["tensorInfos"][number];

export async function openGguf(file: string): Promise<Model> {
  const { size } = await stat(file);
  const parsed = await gguf(file, { allowLocalFile: true }).catch((cause) => {
    throw new TinyLoraError("ERR_FILE", `${file}: not a readable GGUF file (${(cause as Error).message})`, { cause });
  });
  const metadata = parsed.metadata as unknown as GgufMetadata;
  const start = Number(parsed.tensorDataOffset);
  const places = parsed.tensorInfos.map((info) => placeOf(info, file, start, size));
  const config = await ggufConfig(metadata, places, file);
  const tensors = places.flatMap((place) => rename(place, config));
  return { path: file, format: "GGUF", config, tensors, tokenizer: ggufTokenizer(metadata, file) };
}

function placeOf(info: TensorInfo, file: string, start: number, size: number): TensorSource {
  const refuse = (what: string) => new TinyLoraError("ERR_FILE", `${file}: tensor ${info.name}: ${what}`);
  const known = TYPES[info.dtype];
  if (!known) {
    const names = Object.values(TYPES).map(([name]) => name);
    throw refuse(`expected a type of ${names.join(", ")}, found ggml type ${info.dtype}`);
  }
  const [type, block, blockBytes] = known;
  const shape = info.shape.map(Number).reverse();
  const numbers = shape.reduce((product, length) => product * length, 1);
  const bytes = (numbers / block) * blockBytes;
  const offset = start + Number(info.offset);
  if (!Number.isSafeInteger(bytes) || !(offset >= start) || offset + bytes > size) {
    throw refuse(`expected ${bytes} bytes from ${offset} within the file's ${size}`);
  }
  return { name: info.name, file, offset, bytes, type, shape };
}

/** In Hugging Face's names; what the engine does not use (frequency factors, say) is left out. */
function rename(place: TensorSource, config: ModelConfig): TensorSource[] {
  const whole = NAMES[place.name];
  if (whole) return [{ ...place, name: whole }];
  const [, layer, part, kind] = /^blk\.(\d+)\.(\w+)\.(weight|bias)$/.exec(place.name) ?? [];
  const name = part && LAYER_NAMES[part];
  if (!name) return [];
  // The converter of the Llama family permutes the rows of q and k.
  const heads =
    config.family !== "llama" ? 0 : part === "attn_q" ? config.heads : part === "attn_k" ? config.kvHeads : 0;
  return [{ ...place, name: `model.layers.${layer}.${name}.${kind}`, ...(heads ? { permutedHeads: heads } : {}) }];
}

async function ggufConfig(metadata: GgufMetadata, places: TensorSource[], file: string): Promise<ModelConfig> {
  const family = metadata["general.architecture"];
  if (family !== "llama" && family !== "qwen2" && family !== "qwen3") {
    throw new TinyLoraError(
      "ERR_MODEL",
      `${file}: general.architecture: expected llama, qwen2 or qwen3, found ${family}`,
    );
  }
  const number = (key: string, fallback?: number) => {
    const value = metadata[`${family}.${key}`] ?? fallback;
    if (typeof value === "number" || typeof value === "bigint") return Number(value);
    throw new TinyLoraError("ERR_MODEL", `${file}: ${family}.${key}: expected a number, found ${value}`);
  };
  const embedding = places.find(({ name }) => name === "token_embd.weight");
  if (embedding?.shape.length !== 2) {
    throw new TinyLoraError(
      "ERR_MODEL",
      `${file}: token_embd.weight: expected a matrix, found ${embedding ? `[${embedding.shape}]` : "none"}`,
    );
  }
  const hidden = number("embedding_length");
  const heads = number("attention.head_count");
  const scaling = await ggufRopeScaling(metadata, family, places, file);
  return {
    family,
    vocab: embedding.shape[0]!,
    hidden,
    intermediate: number("feed_forward_length"),
    layers: number("block_count"),
    heads,
    kvHeads: number("attention.head_count_kv", heads),
    headDim: number("attention.key_length", Math.floor(hidden / heads)),
    context: number("context_length"),
    rmsNormEpsilon: number("attention.layer_norm_rms_epsilon"),
    tiedEmbeddings: !places.some(({ name }) => name === "output.weight"),
    ropeTheta: number("rope.freq_base", 10000),
    ...(scaling ? { ropeScaling: scaling } : {}),
  };
}

/**
 * Llama 3's scaling is in the file as the divisor of each frequency: the largest is the factor; the other three numbers
 * are the same in all Llama 3 models.
 */
async function ggufRopeScaling(
  metadata: GgufMetadata,
  family: string,
  places: TensorSource[],
  file: string,
): Promise<ModelConfig["ropeScaling"]> {
  const type = metadata[`${family}.rope.scaling.type`] ?? "none";
  if (type === "linear") return { type, factor: Number(metadata[`${family}.rope.scaling.factor`]) };
  if (type !== "none")
    throw new TinyLoraError("ERR_MODEL", `${file}: rope.scaling.type: expected none or linear, found ${type}`);
  const divisors = places.find(({ name }) => name === "rope_freqs.weight");
  if (divisors?.type !== "F32") return undefined;
  const handle = await open(file, "r");
  try {
    const bytes = Buffer.alloc(divisors.bytes);
    await handle.read(bytes, 0, bytes.length, divisors.offset);
    const factor = Math.max(...new Float32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4));
    return { type: "llama3", factor, lowFreqFactor: 1, highFreqFactor: 4, originalContext: 8192 };
  } finally {
    await handle.close();
  }
}
