import { ggufConfig } from "./gguf-config.js";
import { readGgufHeader } from "./gguf-header.js";
import { ggufTensors } from "./gguf-tensors.js";
import { ggufTokenizer } from "./gguf-tokenizer.js";
import type { Model } from "./open.js";

export function openGguf(path: string): Model {
  const header = readGgufHeader(path);
  const config = ggufConfig(header);
  return { path, format: "GGUF", config, tensors: ggufTensors(header, config), tokenizer: ggufTokenizer(header) };
}
