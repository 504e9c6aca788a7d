// The tests under test: a kernel with one mistake must fail what it is tested by, and must not without.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { compileMutant, isForHopper } from "./compile-mutant.js";
import { KERNEL_MUTANTS } from "./kernel-mutants.js";
import { linesOf, nativeTests, onStandIn } from "./native-tests.js";

describe.skipIf(!onStandIn)("planted in a kernel", () => {
  const folder = mkdtempSync(join(tmpdir(), "tinylora-mutants-"));
  afterAll(() => rmSync(folder, { recursive: true }));

  describe.each(KERNEL_MUTANTS)("$file, by $test", (mutants) => {
    const { file, test, mistakes } = mutants;
    it.each([["nothing", undefined], ...Object.entries(mistakes)] as const)(
      "%s",
      { timeout: 300_000 },
      async (_, mistake) => {
        const ptx = compileMutant(mutants, mistake, folder);
        const { stdout } = await nativeTests(test, {
          CUDASIM_PTX: ptx,
          // Three multiprocessors: a block makes several tiles.
          ...(isForHopper(file) && { CUDASIM_ARCH: "90", CUDASIM_MULTIPROCESSORS: "3" }),
        });
        expect(linesOf(stdout).at(-1)).toBe(mistake ? "0 passed, 1 failed" : "1 passed, 0 failed");
      },
    );
  });
});
