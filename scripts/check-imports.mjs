// Imports go one way: bin -> lib -> lib/native -> native/binding -> native/engine -> native/ops <- {reference, cpu, cuda}.
import { readdirSync, readFileSync } from "node:fs";
import { dirname, join, normalize, relative } from "node:path";
import { fileURLToPath } from "node:url";

const root = dirname(dirname(fileURLToPath(import.meta.url)));

/** What the files of a folder may use: the first folder that holds the file decides. */
const MAY_USE = {
  bin: ["bin", "lib"],
  "lib/native": ["lib/native", "lib/error.ts", "lib/version.ts", "lib/config/env.ts"],
  "lib/reward": ["lib/reward", "lib/data", "lib/config", "lib/error.ts", "lib/version.ts", "lib/within-time.ts"],
  "lib/adapter": [
    ...["lib/adapter", "lib/native", "lib/config/env.ts", "lib/error.ts", "lib/files.ts", "lib/version.ts"],
    ...["lib/model/open.ts", "lib/philox.ts", "lib/is-object.ts", "lib/option-names.ts", "lib/show.ts"],
    "lib/config/describe-issue.ts",
  ],
  "lib/model": [
    ...[
      "lib/model",
      "lib/native/model-source.ts",
      "lib/error.ts",
      "lib/is-object.ts",
      "lib/show.ts",
      "lib/within-time.ts",
    ],
  ],
  lib: ["lib"],
  "native/core": ["core"],
  "native/ops": ["ops", "core"],
  "native/reference": ["reference", "ops", "core"],
  "native/cpu": ["cpu", "ops", "core"],
  "native/cuda": ["cuda", "ops", "core"],
  "native/engine": ["engine", "ops", "core"],
  "native/binding": ["binding", "engine", "ops", "core", "cpu", "cuda", "reference"],
};
/** Packages and headers that only one file or folder may use. */
const ONLY = { "node-gyp-build": "lib/native/load.ts", "napi.h": "native/binding/", "node_api.h": "native/binding/" };

const problems = [...files("bin"), ...files("lib"), ...files("native")].flatMap(check);
for (const problem of problems) console.error(problem);
process.exit(problems.length > 0 ? 1 : 0);

function check(file) {
  const text = readFileSync(join(root, file), "utf8");
  const folder = Object.keys(MAY_USE).find((name) => file.startsWith(`${name}/`));
  const found = file.endsWith(".ts") ? typescriptImports(file, text) : includes(file, text);
  return found.flatMap((used) => {
    if (used in ONLY) return file.startsWith(ONLY[used]) ? [] : [`${file}: ${used} is for ${ONLY[used]} only`];
    if (!used.includes("/") || used.startsWith("@")) return [];
    const allowed =
      folder === undefined || MAY_USE[folder].some((name) => used === name || used.startsWith(`${name}/`));
    return allowed ? [] : [`${file}: must not use ${used} (allowed: ${MAY_USE[folder].join(", ")})`];
  });
}

/** Relative imports as paths from the root, packages as they are named. */
function typescriptImports(file, text) {
  const found = text.matchAll(/(?:from|import|require)\s*\(?\s*"([^"]+)"/g);
  return [...found].flatMap(([, name]) => {
    if (name.startsWith(".")) return [normalize(join(dirname(file), name)).replace(/\.js$/, ".ts")];
    return name in ONLY ? [name] : [];
  });
}

/** Headers of the project carry their folder; those of the same folder may stand alone. */
function includes(file, text) {
  return [...text.matchAll(/^#include\s+["<]([^">]+)[">]/gm)].flatMap(([whole, name]) => {
    // nvcc is given no include folder: what kernels share with the host is named from where they are.
    if (name.startsWith("..")) return [relative("native", normalize(join(dirname(file), name)))];
    return whole.includes('"') || name in ONLY ? [name] : [];
  });
}

function files(folder) {
  return readdirSync(join(root, folder), { withFileTypes: true, recursive: true })
    .filter((entry) => entry.isFile() && /\.(ts|cpp|h|cu|cuh)$/.test(entry.name))
    .map((entry) => relative(root, join(entry.parentPath ?? entry.path, entry.name)));
}
