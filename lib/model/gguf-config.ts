// GGUF metadata to our ModelConfig. What the engine does not compute is refused, never ignored.
import { TinyLoraError } from "../error.js";
import type { ModelConfig } from "../native/model-source.js";
import { Fields } from "./fields.js";
import { readBytes, withFile } from "./files.js";
import type { GgufHeader } from "./gguf-header.js";
import { ROPE_DIVISORS, tensorSource } from "./gguf-tensors.js";
import { LARGEST } from "./largest.js";
import { llama3Divisor } from "./llama3-rope.js";
import { yarnAttentionFactor } from "./yarn-rope.js";

const FAMILIES = ["llama", "qwen2", "qwen3"] as const;

export function ggufConfig(header: GgufHeader): ModelConfig {
  const metadata = new Fields(header.file, header.metadata);
  const named = FAMILIES.find((name) => name === metadata.get("general.architecture"));
  const family = named ?? metadata.fail("general.architecture", `one of ${FAMILIES.join(", ")}`);
  const key = (name: string) => `${family}.${name}`;
  if (metadata.notNegative("split.count", 0) > 1) {
    metadata.fail("split.count", "a model in one file, as llama-gguf-split --merge writes it");
  }
  const hidden = metadata.count(key("embedding_length"), undefined, LARGEST.hidden);
  const heads = metadata.count(key("attention.head_count"), undefined, LARGEST.heads);
  const headDim = metadata.count(key("attention.key_length"), Math.floor(hidden / heads), LARGEST.headDim);
  for (const name of ["attention.value_length", "rope.dimension_count"]) {
    if (metadata.count(key(name), headDim) !== headDim) metadata.fail(key(name), `${headDim}, as the heads' size`);
  }
  for (const name of ["expert_count", "attention.sliding_window"]) {
    if (metadata.has(key(name)) && Number(metadata.get(key(name))) !== 0) metadata.fail(key(name), "nothing or 0");
  }
  const ropeTheta = metadata.positive(key("rope.freq_base"), 10000);
  return {
    family,
    vocab: metadata.texts("tokenizer.ggml.tokens").length,
    hidden,
    intermediate: metadata.count(key("feed_forward_length"), undefined, LARGEST.intermediate),
    layers: metadata.count(key("block_count"), undefined, LARGEST.layers),
    heads,
    kvHeads: metadata.count(key("attention.head_count_kv"), heads),
    headDim,
    context: metadata.count(key("context_length"), undefined, LARGEST.context),
    rmsNormEpsilon: metadata.positive(key("attention.layer_norm_rms_epsilon")),
    tiedEmbeddings: !header.tensors.some((tensor) => tensor.name === "output.weight"),
    ropeTheta,
    ...scaling(header, metadata, key, { ropeTheta, headDim }),
  };
}

type Rope = Pick<ModelConfig, "ropeTheta" | "headDim">;

function scaling(
  header: GgufHeader,
  metadata: Fields,
  key: (name: string) => string,
  rope: Rope,
): Pick<ModelConfig, "ropeScaling"> {
  const originalKey = key("rope.scaling.original_context_length");
  const llama3 = llama3Scaling(header, metadata, originalKey, rope);
  const type = metadata.text(key("rope.scaling.type"), "none");
  // Files of before August 2023 have the factor alone.
  const factor = metadata.positive(key("rope.scaling.factor"), metadata.positive(key("rope.scale_linear"), 1));
  for (const [name, neutral] of NEUTRAL) {
    if (metadata.has(key(name)) && metadata.get(key(name)) !== neutral)
      metadata.fail(key(name), `nothing or ${neutral}`);
  }
  if (type !== "none" && type !== "linear" && type !== "yarn") {
    metadata.fail(key("rope.scaling.type"), '"none", "linear" or "yarn"');
  }
  const linear = type === "linear" || metadata.has(key("rope.scale_linear"));
  if (type !== "yarn" && (!linear || factor === 1)) return llama3 ? { ropeScaling: llama3 } : {};
  if (llama3) metadata.fail(key("rope.scaling.type"), `nothing beside ${ROPE_DIVISORS}`);
  if (type !== "yarn") return { ropeScaling: { type: "linear", factor } };
  return {
    ropeScaling: {
      type,
      factor,
      originalContext: metadata.count(originalKey, metadata.count(key("context_length"))),
      betaFast: metadata.positive(key("rope.scaling.yarn_beta_fast"), 32),
      betaSlow: metadata.positive(key("rope.scaling.yarn_beta_slow"), 1),
      truncate: true,
      attentionFactor: yarnAttentionFactor(factor),
    },
  };
}

/** What llama.cpp and transformers do not take alike, and the values that change nothing. */
const NEUTRAL = [
  ["rope.scaling.attn_factor", 1],
  ["rope.scaling.yarn_attn_factor", 1],
  ["rope.scaling.yarn_ext_factor", 1],
  ["rope.scaling.yarn_log_multiplier", 0],
] as const;

/**
 * llama.cpp keeps Llama 3's scaling only as the divisors that come of it, so its parameters are found again: the
 * largest divisor is the factor; the others are those of all published models. The divisors must come out the same.
 */
function llama3Scaling(
  header: GgufHeader,
  metadata: Fields,
  originalKey: string,
  rope: Rope,
): ModelConfig["ropeScaling"] {
  const divisors = readDivisors(header, rope.headDim / 2);
  if (!divisors) return undefined;
  const factor = Math.max(...divisors);
  if (divisors.every((divisor) => divisor === 1)) return undefined;
  const originalContext = metadata.count(originalKey, 8192);
  const found = { type: "llama3", factor, lowFreqFactor: 1, highFreqFactor: 4, originalContext } as const;
  divisors.forEach((divisor, i) => {
    const expected = llama3Divisor(found, rope.ropeTheta ** ((2 * i) / rope.headDim));
    if (Math.abs(divisor - expected) <= 1e-4 * expected) return;
    throw new TinyLoraError(
      "ERR_MODEL",
      `${header.file}: tensor ${ROPE_DIVISORS}: number ${i}: expected ${expected}, as Llama 3 scales by ${factor}, found ${divisor}`,
    );
  });
  return found;
}

function readDivisors(header: GgufHeader, count: number): number[] | undefined {
  const tensor = header.tensors.find(({ name }) => name === ROPE_DIVISORS);
  if (!tensor) return undefined;
  const { file, offset, bytes, type } = tensorSource(header, tensor, tensor.name);
  if (type !== "F32" || bytes !== 4 * count) {
    throw new TinyLoraError(
      "ERR_MODEL",
      `${file}: tensor ${ROPE_DIVISORS}: expected ${count} numbers of F32, found ${bytes} bytes of ${type}`,
    );
  }
  const values = withFile(file, (handle) => readBytes(file, handle, offset, bytes));
  return Array.from({ length: count }, (_, i) => values.readFloatLE(4 * i));
}
