import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { once } from "node:events";
import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { hostname, tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { lockFolder } from "../../../lib/run/lock.js";

/** What happens after the next read of a file, before the reader knows what it read. */
const reads = vi.hoisted((): { after?: (() => Promise<void>) | undefined } => ({}));
vi.mock("node:fs/promises", async (original) => {
  const real = await original<typeof import("node:fs/promises")>();
  const read = async (path: string, encoding: BufferEncoding) => {
    const text = await real.readFile(path, encoding);
    await reads.after?.();
    return text;
  };
  return { ...real, readFile: read };
});

/** Of what another process does: it comes sooner or later. */
const SOMETIME = { timeout: 600_000, interval: 5 };

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "tinylora-"));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

describe("lock", () => {
  it("is held once, and free after its release", async () => {
    const unlock = await lockFolder(folder);
    await expect(lockFolder(folder)).rejects.toThrow(/being written by process \d+/);
    await unlock();
    await (await lockFolder(folder))();
    expect(await readdir(folder)).toEqual([]);
  });

  it.each<[string, string]>([
    ["a dead process", JSON.stringify({ pid: 2 ** 22 + 12345, host: hostname(), started: null })],
    ["an older process with the same id", JSON.stringify({ pid: process.pid, host: hostname(), started: "1" })],
    ["nothing readable", "{"],
    ["no process", JSON.stringify({ pid: "1", host: "elsewhere" })],
    ["no machine", JSON.stringify({ pid: process.pid })],
  ])("of %s is taken over", async (_, text) => {
    await writeFile(join(folder, "lock"), text);
    const unlock = await lockFolder(folder);
    await unlock();
    expect(await readdir(folder)).toEqual([]);
  });

  it("of another machine is respected", async () => {
    for (const pid of [1, 2 ** 22 + 12345]) {
      await writeFile(join(folder, "lock"), JSON.stringify({ pid, host: "elsewhere", started: null }));
      await expect(lockFolder(folder)).rejects.toThrow(`process ${pid} on elsewhere; remove the file`);
    }
  });

  it("of a living process that could not tell when it started is respected", async () => {
    for (const more of [{}, { started: null }]) {
      await writeFile(join(folder, "lock"), JSON.stringify({ pid: process.pid, host: hostname(), ...more }));
      await expect(lockFolder(folder)).rejects.toThrow(`process ${process.pid}; remove the file`);
    }
  });

  it("of a process that has ended, and whose parent has not asked how, is taken over", async () => {
    // A shell would ask: the process ends when its parent has become another program.
    const parent = spawn("sh", ["-c", "exec 3<&0; cat <&3 & echo $!; exec sleep 3600"]);
    const [line] = (await once(parent.stdout, "data")) as [Buffer];
    const pid = Number(line);
    const statOf = async (of: number) => await readFile(`/proc/${of}/stat`, "utf8");
    await vi.waitFor(async () => expect(await statOf(parent.pid!)).toContain("(sleep)"), SOMETIME);
    parent.stdin.end();
    await vi.waitFor(async () => expect((await statOf(pid)).split(") ")[1]![0]).toBe("Z"), SOMETIME);
    await writeFile(join(folder, "lock"), JSON.stringify({ pid, host: hostname(), started: null }));
    await (await lockFolder(folder))();
    parent.kill();
  });

  it("of a dead process that was itself taking over from one is taken over, and nothing is left", async () => {
    const dead = (pid: number) => JSON.stringify({ pid, host: hostname(), started: null });
    const text = dead(2 ** 22 + 1);
    await writeFile(join(folder, "lock"), text);
    const turn = `lock.${createHash("sha256").update(text).digest("hex").slice(0, 8)}`;
    for (const name of [turn, "lock.123.0123abcd", "lock.123.0123abcd.copy"]) {
      await writeFile(join(folder, name), dead(2 ** 22 + 2));
    }
    const unlock = await lockFolder(folder);
    expect(await readdir(folder)).toEqual(["lock"]);
    await unlock();
  });

  it("is held once where one is taken over while another process reads that its holder is dead", async () => {
    await writeFile(join(folder, "lock"), JSON.stringify({ pid: 2 ** 22 + 12345, host: hostname(), started: null }));
    const others: Promise<unknown>[] = [];
    const another = async () => {
      reads.after = undefined;
      const lock = lockFolder(folder);
      others.push(lock);
      await lock.catch(() => {});
    };
    reads.after = async () => {
      await another(); // takes over
      reads.after = another;
    };
    const first = await Promise.allSettled([lockFolder(folder)]);
    await another();
    const all = [...first, ...(await Promise.allSettled(others))];
    expect(all.filter(({ status }) => status === "fulfilled")).toHaveLength(1);
  });

  it("is won by one of many", async () => {
    await writeFile(join(folder, "lock"), JSON.stringify({ pid: 2 ** 22 + 12345, host: hostname(), started: null }));
    const results = await Promise.allSettled(Array.from({ length: 8 }, () => lockFolder(folder)));
    expect(results.filter(({ status }) => status === "fulfilled")).toHaveLength(1);
  });
});
