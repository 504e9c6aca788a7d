import { stat } from "node:fs/promises";
import { TinyLoraError } from "../error.js";
import type { ModelConfig, TensorSource } from "../native/addon.js";
import { openGguf } from "./gguf.js";
import { openHuggingFace } from "./hugging-face.js";
import type { ModelTokenizer } from "./tokenizer.js";

export type { Message } from "./tokenizer.js";

/** A model's headers: everything but the weights, which native code maps from where `tensors` says they lie. */
export interface Model {
  readonly path: string;
  readonly format: "Hugging Face" | "GGUF";
  readonly config: ModelConfig;
  readonly tensors: TensorSource[];
  readonly tokenizer: ModelTokenizer;
}

/** `path`: a Hugging Face folder (config.json, *.safetensors, tokenizer.json) or a .gguf file. */
export async function openModel(path: string): Promise<Model> {
  const found = await stat(path).catch((cause) => {
    throw new TinyLoraError("ERR_FILE", `${path}: no such model: expected a folder or a .gguf file`, { cause });
  });
  return found.isDirectory() ? openHuggingFace(path) : openGguf(path);
}
