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
    testTimeout: 60_000,
    hookTimeout: 120_000,
  },
});
