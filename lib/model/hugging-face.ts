import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { basename, join } from "node:path";
import { z } from "zod";
import { TinyLoraError } from "../error.js";
import type { ModelConfig } from "../native/addon.js";
import type { Model } from "./open.js";
import { safetensorsSources } from "./safetensors.js";
import { ModelTokenizer, type TokenizerJson } from "./tokenizer.js";

const size = z.int().min(1);
const configSchema = z.object({
  model_type: z.enum(["llama", "qwen2", "qwen3"]),
  vocab_size: size,
  hidden_size: size,
  intermediate_size: size,
  num_hidden_layers: size,
  num_attention_heads: size,
  num_key_value_heads: size.nullish(),
  head_dim: size.nullish(),
  max_position_embeddings: size,
  rms_norm_eps: z.number().positive(),
  tie_word_embeddings: z.boolean().default(false),
  use_sliding_window: z.literal(false).nullish(),
  rope_theta: z.number().positive().nullish(),
  rope_scaling: z.record(z.string(), z.unknown()).nullish(),
  /** Where newer versions of transformers keep both. */
  rope_parameters: z.record(z.string(), z.unknown()).nullish(),
  eos_token_id: z.union([z.int(), z.array(z.int())]).nullish(),
});

export async function openHuggingFace(folder: string): Promise<Model> {
  const file = join(folder, "config.json");
  const parsed = configSchema.safeParse(await readJson(file));
  if (!parsed.success) {
    const issue = parsed.error.issues[0]!;
    throw new TinyLoraError("ERR_MODEL", `${file}: ${issue.path.join(".")}: ${issue.message}`);
  }
  const tensors = (await Promise.all((await shards(folder)).map(safetensorsSources))).flat();
  const config = modelConfig(parsed.data, file);
  return {
    path: folder,
    format: "Hugging Face",
    config,
    tensors,
    tokenizer: await tokenizer(folder, parsed.data.eos_token_id),
  };
}

function modelConfig(raw: z.infer<typeof configSchema>, file: string): ModelConfig {
  const rope = { ...raw.rope_scaling, ...raw.rope_parameters };
  const scaling = ropeScaling(rope, file);
  return {
    family: raw.model_type,
    vocab: raw.vocab_size,
    hidden: raw.hidden_size,
    intermediate: raw.intermediate_size,
    layers: raw.num_hidden_layers,
    heads: raw.num_attention_heads,
    kvHeads: raw.num_key_value_heads ?? raw.num_attention_heads,
    headDim: raw.head_dim ?? Math.floor(raw.hidden_size / raw.num_attention_heads),
    context: raw.max_position_embeddings,
    rmsNormEpsilon: raw.rms_norm_eps,
    tiedEmbeddings: raw.tie_word_embeddings,
    ropeTheta: raw.rope_theta ?? (typeof rope.rope_theta === "number" ? rope.rope_theta : 10000),
    ...(scaling ? { ropeScaling: scaling } : {}),
  };
}

function ropeScaling(rope: Record<string, unknown>, file: string): ModelConfig["ropeScaling"] {
  const type = rope.rope_type ?? rope.type ?? "default";
  const number = (key: string) => {
    if (typeof rope[key] === "number") return rope[key];
    throw new TinyLoraError("ERR_MODEL", `${file}: rope_scaling.${key}: expected a number, found ${rope[key]}`);
  };
  if (type === "default") return undefined;
  if (type === "linear") return { type, factor: number("factor") };
  if (type === "llama3") {
    return {
      type,
      factor: number("factor"),
      lowFreqFactor: number("low_freq_factor"),
      highFreqFactor: number("high_freq_factor"),
      originalContext: number("original_max_position_embeddings"),
    };
  }
  throw new TinyLoraError("ERR_MODEL", `${file}: rope_scaling: expected default, linear or llama3, found ${type}`);
}

/** The files of the index, or the one file. Names must stay in the folder. */
async function shards(folder: string): Promise<string[]> {
  const index = join(folder, "model.safetensors.index.json");
  if (!existsSync(index)) return [join(folder, "model.safetensors")];
  const { weight_map: map } = (await readJson(index)) as { weight_map?: unknown };
  const names = typeof map === "object" && map !== null ? [...new Set(Object.values(map))] : [];
  if (names.length === 0) throw new TinyLoraError("ERR_FILE", `${index}: expected a weight_map`);
  return names.map((name) => {
    if (typeof name === "string" && name === basename(name) && name.endsWith(".safetensors")) return join(folder, name);
    throw new TinyLoraError(
      "ERR_FILE",
      `${index}: expected the name of a .safetensors file in the folder, found ${JSON.stringify(name)}`,
    );
  });
}

async function tokenizer(folder: string, eos: number | number[] | null | undefined): Promise<ModelTokenizer> {
  const file = join(folder, "tokenizer.json");
  const json = (await readJson(file)) as TokenizerJson;
  const config = ((await readOptional(join(folder, "tokenizer_config.json"))) ?? {}) as Record<string, unknown>;
  const generation = ((await readOptional(join(folder, "generation_config.json"))) ?? {}) as {
    eos_token_id?: number | number[];
  };
  const templateFile = join(folder, "chat_template.jinja");
  const template = existsSync(templateFile) ? await readFile(templateFile, "utf8") : config.chat_template;
  if (typeof json?.model?.vocab !== "object") throw new TinyLoraError("ERR_FILE", `${file}: expected model.vocab`);
  return new ModelTokenizer({
    json: { ...json, added_tokens: json.added_tokens ?? [] },
    config,
    stopTokens: [eos ?? [], generation.eos_token_id ?? []].flat(),
    chatTemplate: typeof template === "string" ? template : undefined,
    file: folder,
  });
}

async function readOptional(file: string): Promise<unknown> {
  return existsSync(file) ? readJson(file) : undefined;
}

async function readJson(file: string): Promise<unknown> {
  const text = await readFile(file, "utf8").catch((cause) => {
    throw new TinyLoraError("ERR_FILE", `${file}: cannot be read (${cause.code})`, { cause });
  });
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new TinyLoraError("ERR_FILE", `${file}: not JSON (${(cause as Error).message})`, { cause });
  }
}
