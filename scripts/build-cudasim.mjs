// Builds the stand-in for the CUDA driver (test/cudasim): node scripts/build-cudasim.mjs [--tests] [--sanitize]
// --tests: its own tests too, whose kernels nvcc compiles. --sanitize: with AddressSanitizer and
// UndefinedBehaviorSanitizer, in a tree of its own. Silent; where it fails the last line says why.
import { spawnSync } from "node:child_process";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { forgetOtherTree } from "./build-native.mjs";
import { oneBuild } from "./one-build.mjs";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const sanitize = process.argv.includes("--sanitize");
const tree = join(root, ".cache", sanitize ? "cudasim-sanitized" : "cudasim");
const target = process.argv.includes("--tests") ? "cudasim_tests" : "cudasim";
const has = (command) => spawnSync(command, ["--version"]).status === 0;

if (!has("cmake") || !["c++", process.env.CXX].some((compiler) => compiler && has(compiler))) {
  fail("the stand-in for the CUDA driver has to be built, which takes CMake and a C++20 compiler");
}
const generator = has("ninja") ? "Ninja" : "Unix Makefiles";
const options = ["-DCMAKE_BUILD_TYPE=Release", "-DTINYLORA_ADDON=OFF", "-DTINYLORA_CUDASIM=ON"];
if (sanitize) options.push("-DTINYLORA_SANITIZE=ON");
await oneBuild(tree, () => {
  forgetOtherTree(tree, generator);
  run(["-G", generator, "-S", root, "-B", tree, ...options]);
  run(["--build", tree, "--target", target, "-j", "2"]);
});

function run(step) {
  const { status, stdout, stderr } = spawnSync("cmake", step, { cwd: root, encoding: "utf8", maxBuffer: 2 ** 26 });
  if (status === 0) return;
  process.stderr.write(`${stdout}${stderr}`);
  fail(`\`cmake ${step.join(" ")}\` failed`);
}

function fail(message) {
  console.error(message);
  process.exit(1);
}
