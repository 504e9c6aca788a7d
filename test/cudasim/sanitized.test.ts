// The tests of the stand-in once more, the stand-in and they built with AddressSanitizer, its leak check and
// UndefinedBehaviorSanitizer, which end a process at the first mistake. Left out without nvcc.
import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { beforeAll, describe, expect, it } from "vitest";
import { cudasimTitle, hasCudasim } from "./build.js";

const root = join(import.meta.dirname, "../..");
const folder = join(root, ".cache/cudasim-sanitized/test/cudasim");
const program = join(folder, "cudasim_tests");

function run(command: string, commandArguments: string[]) {
  return spawnSync(command, commandArguments, { encoding: "utf8", maxBuffer: 2 ** 26 });
}

describe.skipIf(!hasCudasim)(cudasimTitle("sanitized cudasim"), () => {
  beforeAll(() => {
    const built = run(process.execPath, [join(root, "scripts/build-cudasim.mjs"), "--tests", "--sanitize"]);
    expect(built.status, built.stderr).toBe(0);
  }, 900_000);

  it("has both sanitizers", () => {
    const { stdout } = run("ldd", [join(folder, "libcudasim.so")]);
    expect(stdout).toContain("libasan");
    expect(stdout).toContain("libubsan");
  });

  it("passes all its tests", () => {
    const names = run(program, [folder, "--list"])
      .stdout.split("\n")
      .filter((name) => name !== "");
    expect(names.length).toBeGreaterThan(50);
    const { stdout, stderr, status } = run(program, [folder]);
    expect(status, stderr.slice(-2000)).toBe(0);
    const lines = new Set(stdout.split("\n"));
    for (const name of names) expect(lines.has(`ok ${name}`), name).toBe(true);
    expect(stderr).not.toMatch(/runtime error|Sanitizer/);
  });
});
