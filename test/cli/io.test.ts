import { PassThrough } from "node:stream";
import { afterEach, expect, it, vi } from "vitest";
import { quoted, readInput } from "../../bin/io.js";

afterEach(() => vi.restoreAllMocks());

it.each([
  [true, ["reading standard input, until Ctrl-D"]],
  [false, []],
])("says that it reads standard input where that is a terminal: %s", async (isTTY, expected) => {
  const said: string[] = [];
  vi.spyOn(console, "error").mockImplementation((line: string) => void said.push(line));
  const input = Object.assign(new PassThrough(), { isTTY });
  vi.spyOn(process, "stdin", "get").mockReturnValue(input as never);
  input.end("What is 7 * 8?\n");
  expect(await readInput("-")).toBe("What is 7 * 8?");
  expect(said).toEqual(expected);
});

it("quotes paths as a shell wants them", () => {
  expect(["runs/a-1_b.c", "my runs/a", "it's", "$x"].map(quoted)).toEqual([
    "runs/a-1_b.c",
    "'my runs/a'",
    "'it'\\''s'",
    "'$x'",
  ]);
});
