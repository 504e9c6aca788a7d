import type { ModelConfig } from "../native/model-source.js";

/**
 * A tensor that files carry although the model does not need it (native/engine/model_shape.cpp, is_harmless_extra): a
 * tied head, which the engine has found to be a copy of the embedding, or what follows from the configuration.
 */
export function isExtraTensor({ tiedEmbeddings }: Pick<ModelConfig, "tiedEmbeddings">, name: string): boolean {
  return name.endsWith(".rotary_emb.inv_freq") || (tiedEmbeddings && name === "lm_head.weight");
}
