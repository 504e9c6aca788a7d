// Runs the native tests and reports each of them as a test of its own.
import { beforeAll, describe, expect, it } from "vitest";
import { linesOf, nativeTests } from "./native-tests.js";

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

  it("has tests", () => {
    expect(listing.stderr).toBe("");
    expect(names).not.toHaveLength(0);
    // Outcomes are told by name: of two tests with one name the second would hide the first.
    expect(names.filter((name, place) => names.indexOf(name) !== place)).toEqual([]);
  });

  it.each(names)("%s", (name) => {
    expect(outcomes.get(name)).toMatch(/^ok /);
  });
});
