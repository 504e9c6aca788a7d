// Builds the native tests and runs them: node scripts/native-tests.mjs [--sanitize] [arguments of native_tests]
// --sanitize: with AddressSanitizer and UndefinedBehaviorSanitizer, in a build tree of its own.
// Where TINYLORA_CUDA_DRIVER names a driver (the stand-in, or libcuda.so.1 where there is a GPU), the cuda backend is
// tested too, on PTX; otherwise its kernels are not compiled.
// The build is silent unless it fails.
import { spawnSync } from "node:child_process";
import { availableParallelism } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const sanitize = process.argv.includes("--sanitize");
const testArguments = process.argv.slice(2).filter((argument) => argument !== "--sanitize");
const tree = join(root, "build", sanitize ? "native-tests-sanitized" : "native-tests");

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

const hasNinja = spawnSync("ninja", ["--version"]).status === 0;
quietly("cmake", [
  ...(hasNinja ? ["-G", "Ninja"] : []),
  ...["-S", root, "-B", tree],
  ...["-DTINYLORA_ADDON=OFF", "-DTINYLORA_TESTS=ON", `-DTINYLORA_SANITIZE=${sanitize ? "ON" : "OFF"}`],
  ...[
    `-DTINYLORA_CUDA=${process.env.TINYLORA_CUDA_DRIVER ? "ON" : "OFF"}`,
    "-DTINYLORA_CUDA_ARCHITECTURES=compute_80;compute_90a",
  ],
]);
quietly("cmake", ["--build", tree, "--target", "native_tests", "-j", String(availableParallelism())]);
process.exit(spawnSync(join(tree, "native_tests"), testArguments, { stdio: "inherit" }).status ?? 1);
