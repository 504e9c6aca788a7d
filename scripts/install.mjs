// What installers run: builds the addon, unless one that was built or shipped loads. Through CMake alone: `node-gyp rebuild`
// takes Python, make and a download of Node's headers besides.
import { createRequire } from "node:module";
import { dirname } from "node:path";
import { fileURLToPath } from "node:url";
import { buildNative } from "./build-native.mjs";

/** Loads the addon as the library finds it, and throws where there is none. */
const load = createRequire(import.meta.url)("node-gyp-build");

if (process.env.npm_config_build_from_source === "true" || !loads()) buildNative();

function loads() {
  try {
    load(dirname(dirname(fileURLToPath(import.meta.url))));
    return true;
  } catch {
    return false;
  }
}
