// Builds the native tests and runs them: node scripts/native-tests.mjs [--sanitize] [arguments of native_tests]
// --sanitize: with AddressSanitizer and UndefinedBehaviorSanitizer, in a build tree of its own; otherwise in the addon's.
// Where TINYLORA_CUDA_DRIVER names a driver (the stand-in, or libcuda.so.1 where there is a GPU), the cuda backend is
// tested too. The build is silent unless it fails.
import { spawnSync } from "node:child_process";
import { availableParallelism } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { buildTarget } from "./build-native.mjs";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const sanitize = process.argv.includes("--sanitize");
const testArguments = process.argv.slice(2).filter((argument) => argument !== "--sanitize");
const executable = sanitize ? buildSanitized() : buildTarget("native_tests", "native_tests");
process.exit(spawnSync(executable, testArguments, { stdio: "inherit" }).status ?? 1);

function buildSanitized() {
  const tree = join(root, "build", "native-tests-sanitized");
  const hasNinja = spawnSync("ninja", ["--version"]).status === 0;
  const options = ["-DTINYLORA_ADDON=OFF", "-DTINYLORA_SANITIZE=ON", "-DTINYLORA_CUDA_MACHINE_CODE="];
  quietly("cmake", [...(hasNinja ? ["-G", "Ninja"] : []), "-S", root, "-B", tree, ...options]);
  quietly("cmake", ["--build", tree, "--target", "native_tests", "-j", String(availableParallelism())]);
  return join(tree, "native_tests");
}

/** Runs to the end without a word, or prints all that it said and leaves with its exit code. */
function quietly(command, commandArguments) {
  const { status, error, stdout, stderr } = spawnSync(command, commandArguments, { cwd: root, encoding: "utf8" });
  if (error) {
    console.error(
      `native tests: cannot run ${command} (${error.code}): install CMake 3.20 or newer and a C++20 compiler`,
    );
    process.exit(1);
  }
  if (status !== 0) {
    console.error(`${stdout}${stderr}`);
    console.error(`native tests: ${command} ${commandArguments.join(" ")} failed`);
    process.exit(status ?? 1);
  }
}
