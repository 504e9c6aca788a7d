import { existsSync } from "node:fs";
import { join } from "node:path";
import type { ModelConfig } from "../native/model-source.js";
import { readJson } from "./files.js";
import { huggingFaceConfig } from "./hf-config.js";
import { hasWeights } from "./hf-weights.js";
import { type Model, openModel } from "./open.js";
import { tensorShapes } from "./tensor-shapes.js";

/** What tables of a model need: of its weights, names and shapes ([out, in] of a linear one). */
export interface ModelDescription {
  readonly path: string;
  readonly format: Model["format"];
  readonly config: ModelConfig;
  /** `type` where the weights are there. */
  readonly tensors: readonly { readonly name: string; readonly shape: readonly number[]; readonly type?: string }[];
}

/**
 * As `openModel`; of a folder without .safetensors files what its config.json says, which is all that a plan needs.
 * ERR_FILE, ERR_MODEL.
 */
export async function describeModel(path: string): Promise<ModelDescription> {
  const file = join(path, "config.json");
  if (!existsSync(file) || hasWeights(path)) return openModel(path);
  const config = huggingFaceConfig(readJson(file));
  return { path, format: "Hugging Face", config, tensors: tensorShapes(config) };
}
