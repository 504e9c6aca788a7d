// Makes a checkout ready to run: packages, native addon, TypeScript. Does only what is missing or out of date, and says
// nothing where nothing is. `--packages` stops after the first. Plain Node: it runs before anything is installed.
import { chmodSync, existsSync, readdirSync, readFileSync, rmSync, statSync, utimesSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { buildNative, fail, requirePlatform, run } from "./build-native.mjs";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const at = (...parts) => join(root, ...parts);

requirePlatform();
const [major, minor] = process.versions.node.split(".").map(Number);
if (major < 20 || major === 21 || (major === 20 && minor < 19) || (major === 22 && minor < 12)) {
  fail(`needs Node 20.19, 22.12 or newer, found ${process.versions.node}`);
}

if (!packagesFit()) {
  await step("installing packages", () => run("npm", ["ci", "--ignore-scripts", "--no-audit", "--no-fund"]));
}
if (!process.argv.includes("--packages")) {
  if (modified(at("build", "Release", "tinylora.node")) < newest(["CMakeLists.txt", "cmake", "native"])) {
    await step("building the native addon (up to a few minutes the first time)", () => buildNative());
  }
  const built = at("dist", ".built");
  if (modified(built) < newest(["lib", "bin", "tsconfig.json", "tsconfig.build.json", "package-lock.json"])) {
    const begun = new Date(); // what is edited while it compiles is newer
    await step("compiling TypeScript", compile);
    writeFileSync(built, "");
    utimesSync(built, begun, begun);
  }
  chmodSync(at("dist", "bin", "tinylora-native.js"), 0o755); // npx does so only when it first meets the package
}

/** Every package of the lock file that this platform needs is installed in its version. */
function packagesFit() {
  const installed = at("node_modules", ".package-lock.json");
  if (!existsSync(installed)) return false;
  const has = JSON.parse(readFileSync(installed, "utf8")).packages;
  const wants = JSON.parse(readFileSync(at("package-lock.json"), "utf8")).packages;
  return Object.entries(wants).every(([path, { version, optional }]) => {
    return (
      path === "" ||
      (optional ? has[path] === undefined || has[path].version === version : has[path]?.version === version)
    );
  });
}

/** Into an empty folder, so that nothing stays behind of sources that are gone. */
function compile() {
  rmSync(at("dist"), { recursive: true, force: true });
  run(process.execPath, [at("node_modules", "typescript", "bin", "tsc"), "-p", "tsconfig.build.json"]);
}

function newest(paths) {
  return Math.max(...paths.map((path) => newestUnder(at(path))));
}

function newestUnder(path) {
  const found = statSync(path);
  if (!found.isDirectory()) return found.mtimeMs;
  // The folder's own time counts: it changes when a file in it goes.
  return Math.max(found.mtimeMs, ...readdirSync(path).map((name) => newestUnder(join(path, name))));
}

function modified(path) {
  return existsSync(path) ? statSync(path).mtimeMs : 0;
}

async function step(what, work) {
  const start = Date.now();
  console.error(`tinylora-native: ${what} ...`);
  await work();
  console.error(`tinylora-native: ${what}: done in ${((Date.now() - start) / 1000).toFixed(1)} s`);
}
