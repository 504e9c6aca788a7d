// The tests of the stand-in for the CUDA driver (build.ts), each reported as a test of its own.
import { execFile } from "node:child_process";
import { join } from "node:path";
import { beforeAll, describe, expect, it } from "vitest";
import { cudasimFolder, hasNvcc } from "./build.js";

const program = join(cudasimFolder, "cudasim_tests");

function run(
  command: string,
  commandArguments: string[],
): Promise<{ stdout: string; stderr: string; failed: boolean }> {
  const options = { maxBuffer: 2 ** 26 };
  return new Promise((resolve) => {
    execFile(command, commandArguments, options, (error, stdout, stderr) =>
      resolve({ stdout, stderr, failed: error !== null }),
    );
  });
}

const listing = hasNvcc ? await run(program, [cudasimFolder, "--list"]) : undefined;
const names = listing?.stdout.split("\n").filter((name) => name !== "") ?? [];

describe.skipIf(!hasNvcc)(hasNvcc ? "cudasim" : "cudasim (left out: there is no nvcc)", () => {
  const outcomes = new Map<string, string>();

  beforeAll(async () => {
    if (names.length === 0) return;
    const { stdout, stderr } = await run(program, [cudasimFolder]);
    for (const line of stdout.split("\n")) {
      const name = names.find((candidate) => line === `ok ${candidate}` || line.startsWith(`FAILED ${candidate}: `));
      if (name !== undefined) outcomes.set(name, line);
    }
    for (const name of names) {
      if (!outcomes.has(name)) outcomes.set(name, `did not run: ${stderr.slice(-2000)}`);
    }
  }, 600_000);

  it("has tests", () => {
    expect(names).not.toHaveLength(0);
  });

  it.each(names)("%s", (name) => {
    expect(outcomes.get(name)).toBe(`ok ${name}`);
  });
});
