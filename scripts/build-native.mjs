// Builds the native addon through cmake-js (Ninja where it is installed) in a tree of its own and copies tinylora.node to
// the given folder, build/Release by default. The tree is not build/: `node-gyp rebuild` wipes that.
import { spawnSync } from "node:child_process";
import { copyFileSync, existsSync, mkdirSync, readFileSync, renameSync, rmSync, utimesSync } from "node:fs";
import { createRequire } from "node:module";
import { availableParallelism } from "node:os";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { oneBuild } from "./one-build.mjs";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const tree = join(root, ".cache", "cmake");
const wanted = { major: 3, minor: 20 };

/** The file is dated to when its build began: a source that was edited meanwhile is newer, and setup.mjs builds again. */
export function buildNative(target = join(root, "build", "Release")) {
  const begun = new Date();
  return buildTarget("tinylora", (built) => {
    mkdirSync(target, { recursive: true });
    // Through a rename: a process that has the old file mapped keeps it.
    const file = join(target, "tinylora.node");
    copyFileSync(join(built, "Release", "tinylora.node"), `${file}.new`);
    utimesSync(`${file}.new`, begun, begun);
    renameSync(`${file}.new`, file);
  });
}

/** Builds one target of CMakeLists.txt; what `use` makes of the tree then, before others may build in it. */
export function buildTarget(target, use) {
  const generator = requireTools();
  return oneBuild(tree, () => {
    build(target, generator);
    return use(tree);
  });
}

function build(target, generator) {
  forgetOtherTree(tree, generator);
  const where = ["--directory", root, "--out", tree, "--config", "Release", "--generator", generator];
  run(process.execPath, [cmakeJs(), "configure", ...where, `--CDTINYLORA_CUDA=${process.env.TINYLORA_CUDA ?? "AUTO"}`]);
  const parallel = ["--parallel", `${availableParallelism()}`];
  run(process.execPath, [cmakeJs(), "build", ...where, "--target", target, ...parallel]);
}

/** Ends with one line where the addon is for other systems. */
export function requirePlatform() {
  if (process.platform === "win32") fail("the native addon is for Linux and macOS: on Windows it runs in WSL 2");
}

/** The generator to use; ends with one line where a tool is missing. */
export function requireTools() {
  requirePlatform();
  const version = /version (\d+)\.(\d+)/.exec(output("cmake", ["--version"]) ?? "");
  if (!version || Number(version[1]) * 100 + Number(version[2]) < wanted.major * 100 + wanted.minor) {
    const found = version ? `found ${version[1]}.${version[2]}` : "found none";
    fail(
      `the native addon needs CMake ${wanted.major}.${wanted.minor} or newer (${found}): install it, ${how("cmake")}`,
    );
  }
  const compilers = process.env.CXX ? [process.env.CXX] : ["c++", "g++", "clang++"];
  if (!compilers.some((compiler) => output(compiler, ["--version"]))) {
    fail(`the native addon needs a C++20 compiler (looked for ${compilers.join(", ")}): install one, ${how("g++")}`);
  }
  if (output("ninja", ["--version"])) return "Ninja";
  if (!output("make", ["--version"])) fail(`the native addon needs Ninja or make: install one, ${how("ninja-build")}`);
  return "Unix Makefiles";
}

/** The command line of cmake-js. */
function cmakeJs() {
  const require = createRequire(import.meta.url);
  return join(dirname(require.resolve("cmake-js/package.json")), "bin", "cmake-js");
}

/** CMake refuses a tree that another generator or another checkout made. */
export function forgetOtherTree(tree, generator) {
  const cache = join(tree, "CMakeCache.txt");
  if (!existsSync(cache)) return;
  const text = readFileSync(cache, "utf8");
  const value = (name) => new RegExp(`^${name}:\\w+=(.*)$`, "m").exec(text)?.[1];
  if (value("CMAKE_GENERATOR") !== generator || value("CMAKE_HOME_DIRECTORY") !== root) {
    rmSync(tree, { recursive: true });
  }
}

function how(aptPackage) {
  const brew = { cmake: "brew install cmake", "g++": "xcode-select --install", "ninja-build": "brew install ninja" };
  return process.platform === "darwin"
    ? `\`${brew[aptPackage]}\``
    : `on Debian and Ubuntu \`apt-get install ${aptPackage}\``;
}

function output(command, args) {
  const result = spawnSync(command, args, { encoding: "utf8" });
  return result.status === 0 ? result.stdout : undefined;
}

/** Runs to the end without a word, or prints all that it said and ends this process. */
export function run(command, args) {
  const result = spawnSync(command, args, { cwd: root, encoding: "utf8", maxBuffer: 1 << 28 });
  if (result.status === 0) return;
  process.stderr.write(`${result.stdout ?? ""}${result.stderr ?? ""}`);
  fail(`\`${command} ${args.join(" ")}\` failed${result.error ? ` (${result.error.message})` : ""}`);
}

export function fail(message) {
  console.error(`tinylora-native: ${message}`);
  process.exit(1);
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? "").href) {
  await buildNative(process.argv[2] && resolve(process.argv[2]));
}
