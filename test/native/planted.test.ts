// The tests under test: a kernel with one mistake must fail what it is tested by, and must not without.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { architectureOf, compileMutant } from "./compile-mutant.js";
import { KERNEL_MUTANTS, type KernelMutants, type Mistake } from "./kernel-mutants.js";
import { linesOf, nativeTests, onStandIn, standInTitle } from "./native-tests.js";

const tested = ({ file, test, architecture }: KernelMutants): string => [file, ...test, architecture].join();

/** A file without a mistake is the same whichever of its headers others have theirs in: it is looked at once a test. */
function withNothing(mutants: KernelMutants): [string, Mistake | undefined][] {
  const first = KERNEL_MUTANTS.find((others) => tested(others) === tested(mutants));
  return first === mutants ? [["nothing", undefined]] : [];
}

const groups = KERNEL_MUTANTS.map((mutants) => {
  const { file, header, test, architecture } = mutants;
  const where = `${header ? `${header} in ` : ""}${file}${architecture ? ` for sm_${architecture}` : ""}`;
  return [`${where}, by ${test.join(", ")}`, mutants] as const;
});

describe.skipIf(!onStandIn)(standInTitle("planted in a kernel"), () => {
  let folder: string;
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), "tinylora-mutants-"));
  });
  afterAll(() => rmSync(folder, { recursive: true }));

  describe.each(groups)("%s", (_, mutants) => {
    const { test, mistakes } = mutants;
    // Three multiprocessors: a block makes several tiles.
    const multiprocessors = mutants.multiprocessors ?? (architectureOf(mutants) === 90 ? 3 : "");
    it.each([...withNothing(mutants), ...Object.entries(mistakes)])("%s", async (_, mistake) => {
      const ptx = compileMutant(mutants, mistake, folder);
      const { stdout } = await nativeTests(test, {
        CUDASIM_PTX: ptx,
        CUDASIM_MULTIPROCESSORS: String(multiprocessors),
        CUDASIM_ARCH: String(architectureOf(mutants)),
      });
      expect(linesOf(stdout).at(-1)).toBe(mistake ? "0 passed, 1 failed" : "1 passed, 0 failed");
    });
  });
});
