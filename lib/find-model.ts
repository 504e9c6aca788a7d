import { existsSync, readdirSync, statSync } from "node:fs";
import { join, relative } from "node:path";
import { EMBEDDED } from "./config/embedded.js";
import { environment } from "./config/env.js";
import { TinyLoraError } from "./error.js";
import { packageRoot } from "./version.js";

export function embeddedFolder(): string {
  return join(packageRoot(), "models", EMBEDDED);
}

/**
 * The model to use: the named one ("embedded" is this package's own), that of TINYLORA_MODEL, or the first in
 * ../shared/models beside this package.
 */
export function findModel(named?: string | null): string {
  const given = named ?? environment().model;
  if (given === EMBEDDED) return embeddedFolder();
  if (given) return modelIn(given);
  const shared = join(packageRoot(), "..", "shared", "models");
  const names = existsSync(shared) ? readdirSync(shared).sort() : [];
  const found = names.map((name) => join(shared, name)).find((path) => ggufs(path).length > 0 || isHuggingFace(path));
  if (found) return modelIn(relative(process.cwd(), found));
  throw new TinyLoraError(
    "ERR_USAGE",
    "no model: pass --model FOLDER (Hugging Face: config.json, *.safetensors, tokenizer.json), --model FILE.gguf or --model embedded (this package's own small one), or set TINYLORA_MODEL.",
  );
}

/** A folder that holds nothing but one .gguf file stands for the file, that of a run for the model that it trained. */
function modelIn(path: string): string {
  if (!existsSync(path))
    throw new TinyLoraError("ERR_FILE", `${path}: no such model: expected a folder or a .gguf file`);
  const trained = join(path, "model");
  if (existsSync(join(path, "checkpoints"))) {
    if (isHuggingFace(trained)) return trained;
    if (existsSync(join(path, "adapter", "adapter.json"))) {
      throw new TinyLoraError("ERR_FILE", `${path}: expected a model, found a run that trained an adapter of one`);
    }
  }
  const files = ggufs(path);
  return !isHuggingFace(path) && files.length === 1 ? join(path, files[0]!) : path;
}

function ggufs(path: string): string[] {
  return statSync(path, { throwIfNoEntry: false })?.isDirectory()
    ? readdirSync(path).filter((name) => name.endsWith(".gguf"))
    : [];
}

function isHuggingFace(path: string): boolean {
  return existsSync(join(path, "config.json"));
}
