/** The stand-in for the CUDA driver and its tests, built where there is nvcc: without it there are no kernels to run. */
import { spawnSync } from "node:child_process";
import { join } from "node:path";

const root = join(import.meta.dirname, "../..");
const tree = join(root, ".cache/cudasim");

export const hasNvcc = spawnSync("nvcc", ["--version"]).status === 0;
/** The folder of cudasim_tests and of the PTX that it reads. */
export const cudasimFolder = join(tree, "test/cudasim");
/** What TINYLORA_CUDA_DRIVER has to name. */
export const cudasimLibrary = join(cudasimFolder, "libcudasim.so");

/** Called once, before the tests: two builds in one tree would disturb each other. Throws what the build printed. */
export function buildCudasim(): void {
  const options = ["-DTINYLORA_ADDON=OFF", "-DTINYLORA_CUDASIM=ON"];
  const ninja = spawnSync("ninja", ["--version"]).status === 0 ? ["-G", "Ninja"] : [];
  for (const step of [
    [...ninja, "-S", root, "-B", tree, ...options],
    ["--build", tree, "--target", "cudasim_tests", "-j", "2"],
  ]) {
    const { status, stdout, stderr } = spawnSync("cmake", step, { cwd: root, encoding: "utf8", maxBuffer: 2 ** 26 });
    if (status !== 0) throw new Error(`building the stand-in for the CUDA driver failed:\n${stdout}${stderr}`);
  }
}
