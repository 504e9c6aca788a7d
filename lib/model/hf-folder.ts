// A folder as `save_pretrained` of transformers writes it.
import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { isObject } from "../is-object.js";
import type { Fields } from "./fields.js";
import { orFileError, readJson, readJsonIfThere, readJsonObject, readText } from "./files.js";
import { huggingFaceConfig } from "./hf-config.js";
import { readWeights } from "./hf-weights.js";
import type { Model } from "./open.js";
import { ModelTokenizer } from "./tokenizer.js";

export function openHuggingFace(path: string): Model {
  const raw = readJson(join(path, "config.json"));
  const config = huggingFaceConfig(raw);
  return {
    path,
    format: "Hugging Face",
    config,
    tensors: readWeights(path),
    tokenizer: readTokenizer(path, raw, config.vocab),
    folderFiles: () => folderFiles(path),
  };
}

const BESIDE_WEIGHTS =
  /^(config|generation_config|tokenizer|tokenizer_config|special_tokens_map|added_tokens)\.json$|^chat_template\.(json|jinja)$/;

function folderFiles(path: string): ReadonlyMap<string, string> {
  const names = orFileError(path, () => readdirSync(path)).filter((name) => BESIDE_WEIGHTS.test(name));
  return new Map(names.map((name) => [name, readText(join(path, name))]));
}

function readTokenizer(folder: string, config: Fields, vocab: number): ModelTokenizer {
  const options = readJsonIfThere(join(folder, "tokenizer_config.json"));
  const special = specialTokens(folder, options);
  const generation = readJsonIfThere(join(folder, "generation_config.json"));
  const file = join(folder, "tokenizer.json");
  return new ModelTokenizer({
    place: file,
    json: readJsonObject(file),
    vocab,
    bos: special.bos_token,
    eos: special.eos_token,
    stopTokens: [...tokenIds(generation), ...tokenIds(config)],
    chatTemplate: readTemplate(folder, options),
    specialTokens: special,
  });
}

/**
 * bos_token, eos_token and what else ends in _token. As in transformers, special_tokens_map.json goes before a
 * tokenizer_config.json without added_tokens_decoder, as it was written before transformers 4.34.
 */
function specialTokens(folder: string, options: Fields): Record<string, string> {
  const old = !options.has("added_tokens_decoder");
  const places = old ? [options, readJsonIfThere(join(folder, "special_tokens_map.json"))] : [options];
  const extra = isObject(options.get("extra_special_tokens")) ? [options.object("extra_special_tokens")] : [];
  const found = [...places, ...extra].flatMap((fields) =>
    fields.keys().flatMap((key): [string, string][] => {
      const text = key.endsWith("_token") ? tokenText(fields, key) : undefined;
      return text === undefined ? [] : [[key, text]];
    }),
  );
  return Object.fromEntries(found);
}

/** A token is written as its text or as an object with `content`; add_bos_token and the like are flags. */
function tokenText(fields: Fields, key: string): string | undefined {
  const value = fields.get(key);
  if (value === undefined || typeof value === "boolean") return undefined;
  return isObject(value) ? fields.object(key).text("content") : fields.text(key);
}

function tokenIds(fields: Fields): number[] {
  if (Array.isArray(fields.get("eos_token_id"))) return [...fields.numbers("eos_token_id")];
  const id = fields.tokenId("eos_token_id");
  return id === undefined ? [] : [id];
}

/** A file of its own, or, as before transformers 4.52, in tokenizer_config.json: alone or among named ones. */
function readTemplate(folder: string, options: Fields): string | undefined {
  const file = join(folder, "chat_template.jinja");
  if (existsSync(file)) return readText(file);
  if (!Array.isArray(options.get("chat_template"))) {
    return options.has("chat_template") ? options.text("chat_template") : undefined;
  }
  const named = options.list("chat_template").find((item) => isObject(item) && item.name === "default");
  return isObject(named) && typeof named.template === "string" ? named.template : undefined;
}
