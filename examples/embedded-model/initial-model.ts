/** A Qwen2 model of random weights as a Hugging Face folder. */
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { randomUniform } from "tinylora-native";

const SHAPE = { hidden: 128, intermediate: 320, layers: 4, heads: 4, kvHeads: 2, context: 256 };

const CHAT_TEMPLATE =
  "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}" +
  "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";

export async function writeInitialModel(folder: string, tokenizer: object, vocab: number, seed: number): Promise<void> {
  await mkdir(folder, { recursive: true });
  const json = (name: string, value: object) => writeFile(join(folder, name), `${JSON.stringify(value, null, 1)}\n`);
  await json("config.json", config(vocab));
  await json("tokenizer.json", tokenizer);
  await json("tokenizer_config.json", {
    tokenizer_class: "Qwen2Tokenizer",
    eos_token: "<|im_end|>",
    pad_token: "<|endoftext|>",
    chat_template: CHAT_TEMPLATE,
  });
  await writeFile(join(folder, "model.safetensors"), weights(vocab, seed));
}

function config(vocab: number): object {
  return {
    architectures: ["Qwen2ForCausalLM"],
    model_type: "qwen2",
    vocab_size: vocab,
    hidden_size: SHAPE.hidden,
    intermediate_size: SHAPE.intermediate,
    num_hidden_layers: SHAPE.layers,
    num_attention_heads: SHAPE.heads,
    num_key_value_heads: SHAPE.kvHeads,
    max_position_embeddings: SHAPE.context,
    rms_norm_eps: 1e-6,
    rope_theta: 10000,
    hidden_act: "silu",
    tie_word_embeddings: true,
    bos_token_id: 0,
    eos_token_id: 2,
    dtype: "bfloat16",
  };
}

function shapes(vocab: number): [name: string, shape: number[]][] {
  const { hidden, intermediate, layers, heads, kvHeads } = SHAPE;
  const keys = (hidden / heads) * kvHeads;
  const list: [string, number[]][] = [["model.embed_tokens.weight", [vocab, hidden]]];
  for (let layer = 0; layer < layers; layer++) {
    const at = (name: string) => `model.layers.${layer}.${name}`;
    list.push([at("input_layernorm.weight"), [hidden]], [at("post_attention_layernorm.weight"), [hidden]]);
    for (const [name, out] of [
      ["q", hidden],
      ["k", keys],
      ["v", keys],
    ] as const) {
      list.push([at(`self_attn.${name}_proj.weight`), [out, hidden]], [at(`self_attn.${name}_proj.bias`), [out]]);
    }
    list.push([at("self_attn.o_proj.weight"), [hidden, hidden]]);
    list.push([at("mlp.gate_proj.weight"), [intermediate, hidden]], [at("mlp.up_proj.weight"), [intermediate, hidden]]);
    list.push([at("mlp.down_proj.weight"), [hidden, intermediate]]);
  }
  return [...list, ["model.norm.weight", [hidden]]];
}

/** Norms 1, biases 0, matrices uniform with the variance 1 / inputs; what adds to the residual stream is smaller. */
function weights(vocab: number, seed: number): Buffer {
  const header: Record<string, object> = {};
  const parts: Buffer[] = [];
  let offset = 0;
  for (const [index, [name, shape]] of shapes(vocab).entries()) {
    const count = shape.reduce((product, size) => product * size, 1);
    const residual = /o_proj|down_proj/.test(name) ? 1 / Math.sqrt(2 * SHAPE.layers) : 1;
    const bound = name.includes("embed") ? 0.05 : Math.sqrt(3 / shape.at(-1)!) * residual;
    const values = Float32Array.from({ length: count }, (_, i) => {
      if (shape.length === 1) return name.endsWith(".bias") ? 0 : 1;
      return bound * (2 * randomUniform(seed, "init", index, i) - 1);
    });
    header[name] = { dtype: "F32", shape, data_offsets: [offset, offset + 4 * count] };
    offset += 4 * count;
    parts.push(Buffer.from(values.buffer));
  }
  const text = JSON.stringify(header);
  const padded = text.padEnd(Math.ceil(text.length / 8) * 8);
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(padded.length));
  return Buffer.concat([length, Buffer.from(padded), ...parts]);
}
