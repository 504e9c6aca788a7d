/** The stand-in for the CUDA driver and its tests, built where it can be: without nvcc there are no kernels to run. */
import { spawnSync } from "node:child_process";
import { join } from "node:path";

const root = join(import.meta.dirname, "../..");

const nvcc = spawnSync("nvcc", ["--version"], { encoding: "utf8" });
export const hasNvcc = nvcc.status === 0;
const missing = process.arch !== "x64" ? "it is written for x86-64" : hasNvcc ? undefined : "there is no nvcc";
export const hasCudasim = missing === undefined;
/** The name of a test that needs the stand-in, with the reason where it is left out. */
export const cudasimTitle = (title: string): string => (missing ? `${title} (left out: ${missing})` : title);
/** 13 of 13.0; 0 without nvcc. */
export const nvccMajor = Number(/release (\d+)/.exec(nvcc.stdout ?? "")?.[1] ?? 0);
/** The folder of cudasim_tests and of the PTX that it reads. */
export const cudasimFolder = join(root, ".cache/cudasim/test/cudasim");
/** What TINYLORA_CUDA_DRIVER has to name. */
export const cudasimLibrary = join(cudasimFolder, "libcudasim.so");

/** What whole runs name that are to use the kernels: a GPU where its driver is named, else the stand-in. */
export const kernelDevice = process.env.TINYLORA_CUDA_DRIVER === undefined ? "cudasim" : "cuda";

/** What tests of the engine run on. The kernels: on the stand-in, unless a GPU's driver is named. */
export const devices = [
  { name: "cpu", on: { device: "cpu" }, leftOut: false },
  { name: "reference", on: { device: "reference" }, leftOut: false },
  {
    name: cudasimTitle("cudasim"),
    on: { device: "cudasim", driver: process.env.TINYLORA_CUDA_DRIVER ?? cudasimLibrary },
    leftOut: !hasCudasim,
  },
];

/** Called once, before the tests. Throws what the build printed. */
export function buildCudasim(): void {
  const script = join(root, "scripts/build-cudasim.mjs");
  const { status, stderr } = spawnSync(process.execPath, [script, "--tests"], { encoding: "utf8" });
  if (status !== 0) throw new Error(`building the stand-in for the CUDA driver failed:\n${stderr}`);
}
