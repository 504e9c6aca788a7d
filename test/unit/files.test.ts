import { execFileSync } from "node:child_process";
import { lstat, mkdtemp, readdir, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { checkFolder, prepareFile, writeFileAtomic } from "../../lib/files.js";

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "tinylora-files-"));
});
afterEach(() => rm(folder, { recursive: true }));

it("checkFolder makes nothing", async () => {
  await checkFolder(join(folder, "a", "b"));
  await checkFolder("not-here");
  expect(await readdir(folder)).toEqual([]);
});

describe("writeFileAtomic", () => {
  it("makes the folder, replaces a file and leaves nothing beside it", async () => {
    const path = join(folder, "a", "b", "file");
    for (const text of ["one", "two"]) {
      await writeFileAtomic(path, text);
      expect(await readFile(path, "utf8")).toBe(text);
    }
    expect(await readdir(join(folder, "a", "b"))).toEqual(["file"]);
  });

  it("says that a file is where a folder would be", async () => {
    await writeFile(join(folder, "file"), "");
    const path = join(folder, "file", "x");
    const refused = { code: "ERR_FILE", message: `${join(folder, "file")}: expected a folder, found a file` };
    await expect(prepareFile(path)).rejects.toMatchObject(refused);
    await expect(checkFolder(join(path, "y"))).rejects.toMatchObject(refused);
    await expect(writeFileAtomic(path, "")).rejects.toMatchObject(refused);
  });

  it("writes through a pipe, as through a device, and leaves it one", async () => {
    const pipe = join(folder, "pipe");
    execFileSync("mkfifo", [pipe]);
    await prepareFile(pipe);
    const [read] = await Promise.all([readFile(pipe, "utf8"), writeFileAtomic(pipe, "through")]);
    expect(read).toBe("through");
    expect((await lstat(pipe)).isFIFO()).toBe(true);
    expect(await readdir(folder)).toEqual(["pipe"]);
  });

  it("writes what a link names, and leaves the link", async () => {
    await writeFile(join(folder, "target"), "old");
    await symlink("target", join(folder, "link"));
    await writeFileAtomic(join(folder, "link"), "new");
    expect((await lstat(join(folder, "link"))).isSymbolicLink()).toBe(true);
    expect(await readFile(join(folder, "target"), "utf8")).toBe("new");
  });
});
