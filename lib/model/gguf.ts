import { ggufConfig } from "./gguf-config.js";
import { ggufFolderFiles } from "./gguf-folder.js";
import { readGgufHeader } from "./gguf-header.js";
import { ggufTensors } from "./gguf-tensors.js";
import { ggufTokenizerSource } from "./gguf-tokenizer.js";
import type { Model } from "./open.js";
import { ModelTokenizer } from "./tokenizer.js";

export function openGguf(path: string): Model {
  const header = readGgufHeader(path);
  const config = ggufConfig(header);
  return {
    path,
    format: "GGUF",
    config,
    tensors: ggufTensors(header, config),
    tokenizer: new ModelTokenizer(ggufTokenizerSource(header)),
    folderFiles: () => ggufFolderFiles(path),
  };
}
