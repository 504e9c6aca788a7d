// Builds the stand-in for the CUDA driver and its tests, and reports each of them as a test of its own.
import { execFile, spawnSync } from "node:child_process";
import { join } from "node:path";
import { beforeAll, describe, expect, it } from "vitest";

const root = join(import.meta.dirname, "../..");
const tree = join(root, ".cache/cudasim");
const built = join(tree, "test/cudasim");
const hasNvcc = spawnSync("nvcc", ["--version"]).status === 0;

function run(
  command: string,
  commandArguments: string[],
): Promise<{ stdout: string; stderr: string; failed: boolean }> {
  const options = { cwd: root, maxBuffer: 2 ** 26 };
  return new Promise((resolve) => {
    execFile(command, commandArguments, options, (error, stdout, stderr) =>
      resolve({ stdout, stderr, failed: error !== null }),
    );
  });
}

async function build(): Promise<string> {
  const options = ["-DTINYLORA_ADDON=OFF", "-DTINYLORA_CUDASIM=ON"];
  const ninja = spawnSync("ninja", ["--version"]).status === 0 ? ["-G", "Ninja"] : [];
  for (const step of [
    [...ninja, "-S", root, "-B", tree, ...options],
    ["--build", tree, "--target", "cudasim_tests", "-j", "2"],
  ]) {
    const { stdout, stderr, failed } = await run("cmake", step);
    if (failed) return `${stdout}${stderr}`;
  }
  return "";
}

const buildErrors = hasNvcc ? await build() : "";
const listing = hasNvcc && buildErrors === "" ? await run(join(built, "cudasim_tests"), [built, "--list"]) : undefined;
const names = listing?.stdout.split("\n").filter((name) => name !== "") ?? [];

describe.skipIf(!hasNvcc)(hasNvcc ? "cudasim" : "cudasim (left out: there is no nvcc)", () => {
  const outcomes = new Map<string, string>();

  beforeAll(async () => {
    if (names.length === 0) return;
    const { stdout, stderr } = await run(join(built, "cudasim_tests"), [built]);
    for (const line of stdout.split("\n")) {
      const name = names.find((candidate) => line === `ok ${candidate}` || line.startsWith(`FAILED ${candidate}: `));
      if (name !== undefined) outcomes.set(name, line);
    }
    for (const name of names) {
      if (!outcomes.has(name)) outcomes.set(name, `did not run: ${stderr.slice(-2000)}`);
    }
  }, 600_000);

  it("builds", () => {
    expect(buildErrors).toBe("");
    expect(names).not.toHaveLength(0);
  });

  it.each(names)("%s", (name) => {
    expect(outcomes.get(name)).toBe(`ok ${name}`);
  });
});
