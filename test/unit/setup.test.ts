// scripts/setup.mjs on a small checkout, whose compilers are scripts.
import { spawnSync } from "node:child_process";
import { cp, mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";

const root = join(import.meta.dirname, "../..");
/** What a compiler does that takes `source`: a copy of it; where there is a file `edit`, the source is edited meanwhile. */
const compiler = (
  source: string,
  output: string,
) => `const { existsSync, mkdirSync, copyFileSync, cpSync } = require("fs");
mkdirSync(require("path").dirname("${output}"), { recursive: true });
copyFileSync("${source}", "${output}");
if (existsSync("edit")) cpSync("edit", "${source}");
`;

let folder: string;
const write = async (path: string, text: string) => {
  await mkdir(dirname(join(folder, path)), { recursive: true });
  await writeFile(join(folder, path), text);
};
const read = (path: string) => readFile(join(folder, path), "utf8");

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "tinylora-setup-"));
  for (const name of ["setup", "build-native", "one-build"]) {
    await cp(join(root, "scripts", `${name}.mjs`), join(folder, "scripts", `${name}.mjs`));
  }
  await cp(join(root, "cmake/hold-lock.cmake"), join(folder, "cmake/hold-lock.cmake"));
  for (const name of ["package-lock.json", "node_modules/.package-lock.json"]) await write(name, '{ "packages": {} }');
  for (const name of ["CMakeLists.txt", "tsconfig.json", "tsconfig.build.json", "bin/tool"]) await write(name, "");
  await write("lib/source", "one");
  await write("native/source", "one");
  await write("dist/bin/tinylora-native.js", "");
  await write("node_modules/typescript/bin/tsc", compiler("lib/source", "dist/bin/tinylora-native.js"));
  await write("node_modules/cmake-js/package.json", "{}");
  const built = compiler("native/source", ".cache/cmake/Release/tinylora.node");
  await write("node_modules/cmake-js/bin/cmake-js", `if (process.argv[2] === "build") {\n${built}}`);
});
afterEach(() => rm(folder, { recursive: true }));

/** The steps that it says it makes. */
function setup(): string[] {
  const { status, stderr } = spawnSync(process.execPath, ["scripts/setup.mjs"], { cwd: folder, encoding: "utf8" });
  expect(status, stderr).toBe(0);
  return [...stderr.matchAll(/^tinylora-native: (building|compiling) .* \.\.\.$/gm)].map(([, what]) => what!);
}

it("builds what is missing or edited, and nothing where nothing is", async () => {
  expect(setup()).toEqual(["building", "compiling"]);
  expect(setup()).toEqual([]);
  for (const path of ["lib/source", "native/source"]) await write(path, "two");
  expect(setup()).toEqual(["building", "compiling"]);
  expect([await read("dist/bin/tinylora-native.js"), await read("build/Release/tinylora.node")]).toEqual([
    "two",
    "two",
  ]);
});

it("builds again what was edited while it was built", async () => {
  await write("edit", "edited");
  setup();
  await rm(join(folder, "edit"));
  expect([await read("dist/bin/tinylora-native.js"), await read("build/Release/tinylora.node")]).toEqual([
    "one",
    "one",
  ]);
  expect(setup()).toEqual(["building", "compiling"]);
  expect([await read("dist/bin/tinylora-native.js"), await read("build/Release/tinylora.node")]).toEqual([
    "edited",
    "edited",
  ]);
  expect(setup()).toEqual([]);
});
