// Builds the native tests and reports each of them as a test of its own.
import { execFile } from "node:child_process";
import { join } from "node:path";
import { beforeAll, describe, expect, it } from "vitest";
import { cudasimLibrary, hasNvcc } from "../cudasim/build.js";

/** With nvcc there are kernels, and the cuda backend is one more candidate: on the stand-in, unless a GPU is named. */
const driver = hasNvcc ? { TINYLORA_CUDA_DRIVER: process.env.TINYLORA_CUDA_DRIVER ?? cudasimLibrary } : {};
const script = join(import.meta.dirname, "../../scripts/native-tests.mjs");

function nativeTests(...commandArguments: string[]): Promise<{ stdout: string; stderr: string }> {
  const options = { maxBuffer: 2 ** 26, env: { ...process.env, ...driver } };
  return new Promise((resolve) => {
    execFile(process.execPath, [script, ...commandArguments], options, (_error, stdout, stderr) =>
      resolve({ stdout, stderr }),
    );
  });
}

const listing = await nativeTests("--list");
const names = listing.stdout.split("\n").filter((name) => name !== "");

describe("native", () => {
  const outcomes = new Map<string, string>();

  beforeAll(async () => {
    const { stdout, stderr } = await nativeTests();
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
