import { execFileSync } from "node:child_process";
import { mkdtemp, open, readFile, rm, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { wholeLines, writeLines } from "../../../lib/run/lines.js";

let path: string;
let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "tinylora-"));
  path = join(folder, "file");
});
afterEach(() => rm(folder, { recursive: true, force: true }));

async function linesOf(text: string): Promise<string[]> {
  await writeFile(path, text);
  const lines: string[] = [];
  for await (const line of wholeLines(path)) lines.push(line);
  return lines;
}

describe("lines that are written", () => {
  it("are those of the objects", async () => {
    await writeLines(path, [{ a: "\n" }, {}, { b: [1, null] }]);
    expect(await readFile(path, "utf8")).toBe('{"a":"\\n"}\n{}\n{"b":[1,null]}\n');
    await writeLines(path, []);
    expect(await readFile(path, "utf8")).toBe("");
  });

  it("may be longer together than the longest string", async () => {
    const line = { text: "x".repeat(2 ** 24) };
    await writeLines("/dev/null", Array(33).fill(line));
  });
});

describe("whole lines of a file", () => {
  it.each([
    ["", []],
    ["half", []],
    ["one\n", ["one"]],
    ["one\n\nthree\nhalf", ["one", "", "three"]],
    [
      `${"\u00e9".repeat(2 ** 20)}\n${"x".repeat(2 ** 20 - 1)}\nend\n`,
      ["\u00e9".repeat(2 ** 20), "x".repeat(2 ** 20 - 1), "end"],
    ],
  ])("are those before its last line break", async (text, lines) => {
    expect(await linesOf(text)).toEqual(lines);
  });

  it("are refused where one has no end", async () => {
    await writeFile(path, "one\n");
    await truncate(path, 2 ** 27);
    const lines = wholeLines(path);
    expect(await lines.next()).toMatchObject({ value: "one" });
    await expect(lines.next()).rejects.toThrow("expected lines of at most 67108864 bytes, found a longer one");
  });

  it("may be more together than one may have, and longer than what is read at once", async () => {
    const [lines, length] = [40, 2 ** 21];
    const file = await open(path, "w");
    for (let i = 1; i <= lines; i++) await file.write("\n", i * length - 1); // zeros before, which take no room
    await file.close();
    let read = 0;
    for await (const line of wholeLines(path)) read += Number(line.length === length - 1);
    expect(read).toBe(lines);
  });

  it("are none where there is no file", async () => {
    expect(await wholeLines(path).next()).toEqual({ value: undefined, done: true });
  });

  it("come while the rest is not read yet: it may be longer than the longest string", async () => {
    execFileSync("mkfifo", [path]);
    const writer = await open(path, "r+");
    await writer.write("one\ntw");
    const lines = wholeLines(path);
    expect((await lines.next()).value).toBe("one");
    await writer.write("o\nthr");
    expect((await lines.next()).value).toBe("two");
    await writer.close();
    expect((await lines.next()).done).toBe(true);
  });
});
