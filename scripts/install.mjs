// What installers run: builds the addon, unless one that was built or shipped loads. Through CMake alone: `node-gyp rebuild`
// takes Python, make and a download of Node's headers besides.
import { existsSync, rmSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { buildNative } from "./build-native.mjs";

/** Loads the addon as the library finds it, and throws where there is none. */
const load = createRequire(import.meta.url)("node-gyp-build");
const root = dirname(dirname(fileURLToPath(import.meta.url)));

if (process.env.npm_config_build_from_source === "true" || !loads()) {
  await buildNative();
  // Objects are of use where sources change: in a checkout, which has tests.
  if (!existsSync(join(root, "test"))) rmSync(join(root, ".cache"), { recursive: true });
}

function loads() {
  try {
    load(root);
    return true;
  } catch {
    return false;
  }
}
