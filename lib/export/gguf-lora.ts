import { writeFileAtomic } from "../files.js";
import type { LinearModule } from "../native/addon.js";
import type { ModelConfig } from "../native/model-source.js";
import { bytesOf, f32, pad, padded, text, u32, u64 } from "./gguf-bytes.js";
import type { PlainLora } from "./lora.js";

const NAMES: Readonly<Record<LinearModule["type"], string>> = {
  q_proj: "attn_q",
  k_proj: "attn_k",
  v_proj: "attn_v",
  o_proj: "attn_output",
  gate_proj: "ffn_gate",
  up_proj: "ffn_up",
  down_proj: "ffn_down",
};
const F32 = 0;

/** The file that llama.cpp takes as --lora, for a base model of the same shape. */
export async function writeGgufLora(path: string, lora: PlainLora, config: ModelConfig): Promise<void> {
  await writeFileAtomic(path, ggufLora(lora, config));
}

/** The bytes of that file: fp32, rows of q and k permuted as llama.cpp has them. */
export function ggufLora({ rank, modules }: PlainLora, config: ModelConfig): Buffer {
  const tensors = modules.flatMap(({ module, a, b }) => {
    const name = `blk.${module.layer}.${NAMES[module.type]}.weight`;
    const rows = permutedRows(b, rank, module, config);
    return [
      { name: `${name}.lora_a`, dimensions: [module.in, rank], data: bytesOf(a) },
      { name: `${name}.lora_b`, dimensions: [rank, module.out], data: bytesOf(rows) },
    ];
  });
  const metadata = [
    [text("general.type"), u32(8), text("adapter")],
    [text("general.architecture"), u32(8), text(config.family)],
    [text("adapter.type"), u32(8), text("lora")],
    [text("adapter.lora.alpha"), u32(6), f32(rank)], // over the rank: a scale of 1
  ];
  let offset = 0;
  const infos = tensors.map(({ name, dimensions, data }) => {
    const info = Buffer.concat([text(name), u32(dimensions.length), ...dimensions.map(u64), u32(F32), u64(offset)]);
    offset += padded(data.length);
    return info;
  });
  const header = Buffer.concat([
    Buffer.from("GGUF"),
    u32(3),
    u64(tensors.length),
    u64(metadata.length),
    ...metadata.flat(),
    ...infos,
  ]);
  return Buffer.concat([pad(header), ...tensors.map(({ data }) => pad(data))]);
}

/**
 * llama.cpp keeps the rows of q and k of the Llama family with the two halves of each head interleaved; row i of half h
 * stands at 2 i + h of its head.
 */
function permutedRows(b: Float32Array, rank: number, { type }: LinearModule, config: ModelConfig): Float32Array {
  if (config.family !== "llama" || (type !== "q_proj" && type !== "k_proj")) return b;
  const { headDim } = config;
  const half = headDim / 2;
  const rows = new Float32Array(b.length);
  for (let row = 0; row < b.length / rank; row++) {
    const [head, within] = [Math.floor(row / headDim), row % headDim];
    const place = head * headDim + 2 * (within % half) + Math.floor(within / half);
    rows.set(b.subarray(row * rank, (row + 1) * rank), place * rank);
  }
  return rows;
}
