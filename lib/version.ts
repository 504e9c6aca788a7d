import { existsSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { TinyLoraError } from "./error.js";

const NAME = "tinylora-native";
let found: string | undefined;

/** The folder of this package's package.json: this file lies in lib/ or in dist/lib/. ERR_ADDON where a bundler moved it. */
export function packageRoot(): string {
  // Bundlers that make CommonJS leave import.meta empty.
  const url = import.meta.url as string | undefined;
  found ??= url?.startsWith("file:") ? rootAbove(fileURLToPath(url)) : undefined;
  if (found !== undefined) return found;
  throw new TinyLoraError(
    "ERR_ADDON",
    `${NAME} is part of a bundle${url ? ` (${url})` : ""}, where it has neither its addon nor its models.\n` +
      `Have the bundler leave the package out, as \`esbuild --external:${NAME}\` does, and install it beside the bundle.`,
  );
}

/** The version in package.json. */
export function packageVersion(): string {
  return String(manifest(packageRoot()).version);
}

function rootAbove(path: string): string | undefined {
  const folder = dirname(path);
  if (folder === path) return undefined;
  const isRoot = existsSync(join(folder, "package.json")) && manifest(folder).name === NAME;
  return isRoot ? folder : rootAbove(folder);
}

function manifest(folder: string): { name?: unknown; version?: unknown } {
  return JSON.parse(readFileSync(join(folder, "package.json"), "utf8"));
}
