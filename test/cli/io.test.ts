import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { PassThrough } from "node:stream";
import { afterEach, expect, it, vi } from "vitest";
import { quoted, readInput, table, writeOutput } from "../../bin/io.js";

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

it("reads standard input without a byte order mark, and no more than fits", async () => {
  const from = (chunks: Iterable<Uint8Array>) => {
    const input = Object.assign(PassThrough.from(chunks), { isTTY: false });
    vi.spyOn(process, "stdin", "get").mockReturnValue(input as never);
    return readInput("-");
  };
  const bytes = Buffer.from("\ufeff[1, é]\n\n");
  expect(await from([bytes.subarray(0, 8), bytes.subarray(8)])).toBe("[1, é]"); // the cut is within é
  const endless = function* () {
    for (const chunk = Buffer.alloc(1 << 26); ; ) yield chunk;
  };
  await expect(from(endless())).rejects.toThrow("standard input: expected at most 500000000 bytes, found more");
});

it("reads and writes files", async () => {
  const folder = await mkdtemp(join(tmpdir(), "tinylora-io-"));
  const path = join(folder, "scores.json");
  await expect(readInput(path)).rejects.toThrow(`${path}: cannot be read (no such file)`);
  await writeFile(path, "old, and longer");
  await writeOutput(path, "[1]\n");
  expect(await readFile(path, "utf8")).toBe("[1]\n");
  expect(await readInput(path)).toBe("[1]\n");
  await writeFile(path, "\ufeff[1]\r\n"); // as Windows writes it
  expect(await readInput(path)).toBe("[1]\r\n");
  expect(await readdir(folder)).toEqual(["scores.json"]);
  const write = vi.spyOn(process.stdout, "write").mockReturnValue(true);
  await writeOutput("-", "[2]\n");
  expect(write).toHaveBeenCalledWith("[2]\n");
  await rm(folder, { recursive: true });
});

it("sets columns of numbers to the right, others to the left, and ends lines with their last letter", () => {
  const rows = [
    ["q_proj", 30, "1,024", "+2.5 %", "-"],
    ["down", 7, 12, "-10 %", "yes"],
  ];
  expect(table(["module", "count", "weights", "gain", "note"], rows)).toBe(
    [
      "module  count  weights    gain  note",
      "q_proj     30    1,024  +2.5 %  -",
      "down        7       12   -10 %  yes",
      "",
    ].join("\n"),
  );
  const mixed = [
    ["a", 7],
    ["b", "unknown"],
  ];
  expect(table(["name", "size"], mixed)).toBe("name  size\na     7\nb     unknown\n");
});

it("quotes paths as a shell wants them", () => {
  expect(["runs/a-1_b.c", "my runs/a", "it's", "$x"].map(quoted)).toEqual([
    "runs/a-1_b.c",
    "'my runs/a'",
    "'it'\\''s'",
    "'$x'",
  ]);
});
