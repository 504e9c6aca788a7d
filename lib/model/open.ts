import { readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { TinyLoraError } from "../error.js";
import type { ModelConfig, TensorSource } from "../native/model-source.js";
import { orFileError } from "./files.js";
import { openGguf } from "./gguf.js";
import { openHuggingFace } from "./hf-folder.js";
import type { ModelTokenizer } from "./tokenizer.js";

export type { Message } from "./chat-template.js";

/** What a model's files say, before any weight is read. */
export interface Model {
  /** The folder or .gguf file. */
  readonly path: string;
  readonly format: "Hugging Face" | "GGUF";
  readonly config: ModelConfig;
  readonly tensors: TensorSource[];
  readonly tokenizer: ModelTokenizer;
  /** Texts of what a Hugging Face folder of this model holds beside the weights, by file name. */
  folderFiles(): ReadonlyMap<string, string>;
}

/**
 * Reads headers, config and tokenizer of a model: a Hugging Face folder, a .gguf file, or a folder with exactly one.
 * Hostile or damaged files end in a TinyLoraError of one sentence.
 */
export async function openModel(path: string): Promise<Model> {
  const found = orFileError(path, () => statSync(path, { throwIfNoEntry: false }));
  if (!found) throw new TinyLoraError("ERR_FILE", `${path}: no such model: expected a folder or a .gguf file`);
  if (!found.isDirectory()) return openGguf(path);
  const names = orFileError(path, () => readdirSync(path));
  if (names.includes("config.json")) return openHuggingFace(path);
  const ggufs = names.filter((name) => name.endsWith(".gguf")).sort();
  if (ggufs.length === 1) return openGguf(join(path, ggufs[0]!));
  const what = ggufs.length === 0 ? "neither" : `${ggufs.length} .gguf files (name one of them: ${ggufs.join(", ")})`;
  throw new TinyLoraError("ERR_FILE", `${path}: expected config.json or one .gguf file, found ${what}`);
}
