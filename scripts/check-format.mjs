// clang-format over all C++ files: names those that differ, or with `--write` formats them.
import { spawnSync } from "node:child_process";
import { readdirSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const files = ["native", "test/native", "test/cudasim", "benchmarks"].flatMap((folder) =>
  readdirSync(join(root, folder), { recursive: true })
    .filter((name) => /\.(cpp|h|cu|cuh)$/.test(name))
    .map((name) => join(folder, name)),
);
const mode = process.argv.includes("--write") ? ["-i"] : ["--dry-run", "-Werror"];
const tool = join(root, "node_modules", "clang-format", "index.js");
const { status } = spawnSync(process.execPath, [tool, ...mode, ...files], { cwd: root, stdio: "inherit" });
process.exit(status ?? 1);
