import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { encodeSafetensors, floatTensor, type SmallTensors } from "../lib/adapter/safetensors.js";
import { generator } from "./generator.js";

const SIZES = { hidden: 32, intermediate: 48, layers: 2, heads: 4, kvHeads: 2, headDim: 8, vocab: 258 };
const [END, TURN] = [256, 257];

/** Writes a random Llama of 2 layers with one token a byte as a Hugging Face folder: everything but sense. */
export async function writeTinyModel(folder: string, seed = 1): Promise<string> {
  const { hidden, intermediate, layers, heads, kvHeads, headDim, vocab } = SIZES;
  const random = generator(seed);
  const tensors: SmallTensors = new Map();
  const add = (name: string, ...shape: number[]) => {
    const count = shape.reduce((product, size) => product * size, 1);
    const scale = shape.length === 1 ? 0.1 : 1 / Math.sqrt(shape.at(-1)!);
    const center = shape.length === 1 ? 1 : 0;
    const values = Float32Array.from({ length: count }, () => center + scale * 3.46 * (random() - 0.5));
    tensors.set(name, floatTensor(values, shape));
  };
  add("model.embed_tokens.weight", vocab, hidden);
  add("model.norm.weight", hidden);
  for (let layer = 0; layer < layers; layer++) {
    const at = `model.layers.${layer}`;
    add(`${at}.input_layernorm.weight`, hidden);
    add(`${at}.post_attention_layernorm.weight`, hidden);
    add(`${at}.self_attn.q_proj.weight`, heads * headDim, hidden);
    add(`${at}.self_attn.k_proj.weight`, kvHeads * headDim, hidden);
    add(`${at}.self_attn.v_proj.weight`, kvHeads * headDim, hidden);
    add(`${at}.self_attn.o_proj.weight`, hidden, heads * headDim);
    add(`${at}.mlp.gate_proj.weight`, intermediate, hidden);
    add(`${at}.mlp.up_proj.weight`, intermediate, hidden);
    add(`${at}.mlp.down_proj.weight`, hidden, intermediate);
  }
  const config = {
    model_type: "llama",
    vocab_size: vocab,
    hidden_size: hidden,
    intermediate_size: intermediate,
    num_hidden_layers: layers,
    num_attention_heads: heads,
    num_key_value_heads: kvHeads,
    head_dim: headDim,
    max_position_embeddings: 2048,
    rms_norm_eps: 1e-5,
    rope_theta: 10000,
    tie_word_embeddings: true,
    eos_token_id: [END, TURN],
  };
  await mkdir(folder, { recursive: true });
  await writeFile(join(folder, "config.json"), JSON.stringify(config));
  await writeFile(join(folder, "model.safetensors"), encodeSafetensors(tensors));
  await writeFile(join(folder, "tokenizer.json"), JSON.stringify(byteTokenizer()));
  await writeFile(join(folder, "tokenizer_config.json"), JSON.stringify({ chat_template: TEMPLATE }));
  return folder;
}

const TEMPLATE =
  "{% for message in messages %}{{ message.role }}: {{ message.content }}<|turn|>{% endfor %}{% if add_generation_prompt %}assistant: {% endif %}";

function byteTokenizer(): object {
  const flags = { special: true, single_word: false, lstrip: false, rstrip: false, normalized: false };
  return {
    version: "1.0",
    added_tokens: [
      { id: END, content: "<|end|>", ...flags },
      { id: TURN, content: "<|turn|>", ...flags },
    ],
    normalizer: null,
    pre_tokenizer: { type: "ByteLevel", add_prefix_space: false, trim_offsets: true, use_regex: true },
    post_processor: null,
    decoder: { type: "ByteLevel", add_prefix_space: true, trim_offsets: true, use_regex: true },
    model: { type: "BPE", unk_token: null, fuse_unk: false, byte_fallback: false, vocab: byteVocabulary(), merges: [] },
  };
}

/** GPT-2's letters for the 256 bytes. */
function byteVocabulary(): Record<string, number> {
  const vocabulary: Record<string, number> = {};
  for (let byte = 0, next = 256; byte < 256; byte++) {
    const printable = (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
    vocabulary[String.fromCodePoint(printable ? byte : next++)] = byte;
  }
  return vocabulary;
}
