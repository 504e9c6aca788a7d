// Builds the native tests and runs them: node scripts/native-tests.mjs [--sanitize] [arguments of native_tests]
// --sanitize: with AddressSanitizer and UndefinedBehaviorSanitizer, in a build tree of its own; otherwise in the addon's.
// Where TINYLORA_CUDA_DRIVER names a driver (the stand-in, or libcuda.so.1 where there is a GPU), the cuda backend is
// tested too. The build is silent unless it fails.
import { spawnSync } from "node:child_process";
import { availableParallelism } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { buildTarget, forgetOtherTree, requireTools, run } from "./build-native.mjs";
import { oneBuild } from "./one-build.mjs";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const sanitize = process.argv.includes("--sanitize");
const testArguments = process.argv.slice(2).filter((argument) => argument !== "--sanitize");
const executable = await (sanitize
  ? buildSanitized()
  : buildTarget("native_tests", (tree) => join(tree, "native_tests")));
process.exit(spawnSync(executable, testArguments, { stdio: "inherit" }).status ?? 1);

function buildSanitized() {
  const tree = join(root, "build", "native-tests-sanitized");
  const options = ["-DTINYLORA_ADDON=OFF", "-DTINYLORA_SANITIZE=ON", "-DTINYLORA_CUDA_MACHINE_CODE="];
  const generator = requireTools();
  return oneBuild(tree, () => {
    forgetOtherTree(tree, generator);
    run("cmake", ["-G", generator, "-S", root, "-B", tree, ...options]);
    run("cmake", ["--build", tree, "--target", "native_tests", "-j", String(availableParallelism())]);
    return join(tree, "native_tests");
  });
}
