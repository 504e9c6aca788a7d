import { defineConfig } from "vitest/config";
import { LongestFirst } from "./test/longest-first.js";

// Forks, not threads: a crash of native code must end one test file, and be seen.
export default defineConfig({
  test: {
    include: ["test/**/*.test.ts"],
    globalSetup: ["test/setup.ts"],
    pool: "forks",
    maxWorkers: 2,
    sequence: { sequencer: LongestFirst },
    // Only what hangs takes so long, on a loaded machine too.
    testTimeout: 600_000,
    hookTimeout: 600_000,
  },
});
