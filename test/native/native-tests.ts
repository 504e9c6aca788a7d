/** The executable of the native tests, which test/setup.ts builds, and its runs. */
import { execFile } from "node:child_process";
import { join } from "node:path";
import { cudasimLibrary, cudasimTitle, hasCudasim } from "../cudasim/build.js";

const executable = join(import.meta.dirname, "../../.cache/cmake/native_tests");

/** Where there is the stand-in there are kernels, and the cuda backend is one more candidate: on the stand-in, unless a GPU is named. */
const driver = hasCudasim ? { TINYLORA_CUDA_DRIVER: process.env.TINYLORA_CUDA_DRIVER ?? cudasimLibrary } : {};

/** Kernels to be run on the stand-in: it poses as other devices, and takes kernels in place of the embedded ones. */
export const onStandIn = hasCudasim && process.env.TINYLORA_CUDA_DRIVER === undefined;
/** The name of what needs it, with the reason where it is left out. */
export const standInTitle = (title: string): string =>
  hasCudasim && !onStandIn ? `${title} (left out: TINYLORA_CUDA_DRIVER names another driver)` : cudasimTitle(title);

/** Runs the tests whose names contain all of `filters`, or lists them; never rejects. */
export function nativeTests(
  filters: readonly string[],
  environment: Readonly<Record<string, string>> = {},
): Promise<{ stdout: string; stderr: string }> {
  const options = { maxBuffer: 2 ** 26, env: { ...process.env, ...driver, ...environment } };
  return new Promise((resolve) => {
    execFile(executable, filters, options, (error, stdout, stderr) =>
      resolve({ stdout, stderr: stderr || (error?.message ?? "") }),
    );
  });
}

export const linesOf = (text: string): string[] => text.split("\n").filter((line) => line !== "");
