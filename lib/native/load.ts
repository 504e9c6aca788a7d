import { existsSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { environment } from "../config/env.js";
import { TinyLoraError } from "../error.js";
import { packageRoot } from "../version.js";
import type { Addon } from "./addon.js";

let loaded: Addon | undefined;

/** The native addon: the one of TINYLORA_ADDON, of this checkout (build/Release), or prebuilt for this platform. */
export function loadAddon(): Addon {
  loaded ??= load(environment().addon ?? find(packageRoot()));
  return loaded;
}

function find(root: string): string {
  const nodeGypBuild = requireInstalled("node-gyp-build") as { path(root: string): string };
  try {
    return nodeGypBuild.path(root);
  } catch (error) {
    const places = ["build/Release", "prebuilds"].map((place) => `${place} (${state(join(root, place))})`).join(", ");
    throw new TinyLoraError(
      "ERR_ADDON",
      `no native addon for ${process.platform}-${process.arch}, Node ${process.versions.node}: looked in ${places} of ${root}.\n` +
        `Build it with \`${buildCommand(root)}\`; that takes a C++20 compiler and CMake.`,
      { cause: error },
    );
  }
}

function load(file: string): Addon {
  try {
    return requireInstalled(file) as Addon;
  } catch (error) {
    const { message, code } = error as NodeJS.ErrnoException;
    const cure =
      code === "ERR_DLOPEN_DISABLED"
        ? "Run Node with --allow-addons beside --permission, and without --no-addons."
        : `Build it for this machine with \`${buildCommand(packageRoot())}\`.`;
    const reason = message.split("\n")[0]!.replace(/\.$/, "");
    throw new TinyLoraError("ERR_ADDON", `${file} does not load: ${reason}.\n${cure}`, { cause: error });
  }
}

function requireInstalled(name: string): unknown {
  return createRequire(join(packageRoot(), "package.json"))(name);
}

/** As a dependency it is built by its own script: package managers differ in whether they run a package's scripts. */
function buildCommand(root: string): string {
  const scripts = join(root, "scripts");
  return existsSync(join(scripts, "setup.mjs")) ? "npm run build" : `node "${join(scripts, "install.mjs")}"`;
}

function state(folder: string): string {
  return existsSync(folder) ? "has none that fits" : "is not there";
}
