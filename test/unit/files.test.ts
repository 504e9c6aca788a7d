import { execFileSync } from "node:child_process";
import { lstat, mkdir, mkdtemp, readdir, readFile, realpath, rm, symlink, writeFile } from "node:fs/promises";
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
    await symlink("file", join(folder, "link"));
    await expect(checkFolder(join(folder, "link", "x"))).rejects.toThrow("link: expected a folder, found a file");
    const long = join(folder, "x".repeat(300), "file");
    await expect(writeFileAtomic(long, "")).rejects.toThrow("file: cannot be written (ENAMETOOLONG");
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

  it("makes what a link names that is not there yet, and no folder for it", async () => {
    await mkdir(join(folder, "disk"));
    const links = join(folder, "deeper", "links");
    await mkdir(links, { recursive: true });
    await symlink("deeper/links", join(folder, "way"));
    await symlink("../../disk/one", join(links, "first"));
    await symlink("first", join(links, "second"));
    const path = join(folder, "way", "second");
    await prepareFile(path);
    await writeFileAtomic(path, "through two links");
    expect(await readFile(join(folder, "disk", "one"), "utf8")).toBe("through two links");
    expect(await readdir(links)).toEqual(["first", "second"]);
    expect((await lstat(path)).isSymbolicLink()).toBe(true);

    const lost = join(folder, "lost");
    await symlink("unmounted/two", lost);
    const message = `${lost}: expected a folder for ${join(await realpath(folder), "unmounted/two")}, which the link names, found none`;
    for (const write of [prepareFile, (path: string) => writeFileAtomic(path, "")]) {
      await expect(write(lost)).rejects.toMatchObject({ code: "ERR_FILE", message });
    }
    await symlink("around", join(folder, "around"));
    await expect(writeFileAtomic(join(folder, "around"), "")).rejects.toThrow(/around: cannot be written \(ELOOP/);
  });

  it("says that a link to nothing is where a folder would be, before anything is made", async () => {
    await symlink("nowhere", join(folder, "link"));
    const path = join(folder, "link");
    const refused = {
      code: "ERR_FILE",
      message: `${path}: expected a folder, found a link to nowhere, which is not there`,
    };
    await expect(checkFolder(path)).rejects.toMatchObject(refused);
    await expect(checkFolder(join(path, "run"))).rejects.toMatchObject(refused);
    await expect(writeFileAtomic(join(path, "x"), "")).rejects.toMatchObject(refused);
  });
});
