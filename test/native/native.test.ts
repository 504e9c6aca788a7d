// Builds the native tests and reports each of them as a test of its own.
import { execFile } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { cudasimLibrary, hasNvcc } from "../cudasim/build.js";
import { compileMutant, isForHopper, KERNEL_MUTANTS } from "./kernel-mutants.js";

/** With nvcc there are kernels, and the cuda backend is one more candidate: on the stand-in, unless a GPU is named. */
const driver = hasNvcc ? { TINYLORA_CUDA_DRIVER: process.env.TINYLORA_CUDA_DRIVER ?? cudasimLibrary } : {};
const script = join(import.meta.dirname, "../../scripts/native-tests.mjs");

function nativeTests(commandArguments: string[], environment = {}): Promise<{ stdout: string; stderr: string }> {
  const options = { maxBuffer: 2 ** 26, env: { ...process.env, ...driver, ...environment } };
  return new Promise((resolve) => {
    execFile(process.execPath, [script, ...commandArguments], options, (_error, stdout, stderr) =>
      resolve({ stdout, stderr }),
    );
  });
}

const linesOf = (text: string) => text.split("\n").filter((line) => line !== "");
const listing = await nativeTests(["--list"]);
const names = linesOf(listing.stdout);

describe("native", () => {
  const outcomes = new Map<string, string>();

  beforeAll(async () => {
    const { stdout, stderr } = await nativeTests([]);
    for (const line of stdout.split("\n")) {
      const name = /^(?:ok|FAILED) (.*?):?\t/.exec(line)?.[1];
      if (name !== undefined) outcomes.set(name, line);
    }
    for (const name of names) {
      if (!outcomes.has(name)) outcomes.set(name, `did not run: ${stderr.trim() || "the executable ended before it"}`);
    }
  }, 1_200_000);

  it("builds", () => {
    expect(listing.stderr).toBe("");
    expect(names).not.toHaveLength(0);
  });

  it.each(names)("%s", (name) => {
    expect(outcomes.get(name)).toMatch(/^ok /);
  });
});

/**
 * The products of sm_90a and dW, on the stand-in as such a device: with three multiprocessors, so that a block makes many
 * tiles and the largest tiling is chosen, and with blocks in order and in two others.
 */
describe.skipIf(!hasNvcc || process.env.TINYLORA_CUDA_DRIVER !== undefined)("native, on sm_90", () => {
  const filters = [
    ["cuda product", "sm_90a"],
    ...["cuda bf16", "cuda fp16"].flatMap((on) =>
      ["linear: ", "lora: ", "weight gradient: "].map((name) => [name, on]),
    ),
  ];
  it.each(["0", "1", "2"])("products, order %s", { timeout: 300_000 }, async (order) => {
    const environment = { CUDASIM_ARCH: "90", CUDASIM_MULTIPROCESSORS: "3", CUDASIM_ORDER: order };
    for (const filter of filters) {
      const { stdout } = await nativeTests(filter, environment);
      expect(linesOf(stdout).filter((line) => !line.startsWith("ok "))).toEqual([
        expect.stringMatching(/^[1-9]\d* passed, 0 failed$/),
      ]);
    }
  });
});

/** The tests under test: a kernel with one mistake must fail what it is tested by, and must not without. */
describe.skipIf(!hasNvcc || process.env.TINYLORA_CUDA_DRIVER !== undefined)("planted in a kernel", () => {
  const folder = mkdtempSync(join(tmpdir(), "tinylora-mutants-"));
  const ptx = join(folder, "kernel.ptx");
  afterAll(() => rmSync(folder, { recursive: true }));

  describe.each(KERNEL_MUTANTS)("$file, by $test", (mutants) => {
    const { file, test, mistakes } = mutants;
    it.each([["nothing", undefined], ...Object.entries(mistakes)] as const)(
      "%s",
      { timeout: 300_000 },
      async (_, mistake) => {
        compileMutant(mutants, mistake, ptx);
        const { stdout } = await nativeTests([...test], {
          CUDASIM_PTX: ptx,
          ...(isForHopper(file) && { CUDASIM_ARCH: "90" }),
        });
        expect(linesOf(stdout).at(-1)).toBe(mistake ? "0 passed, 1 failed" : "1 passed, 0 failed");
      },
    );
  });
});
