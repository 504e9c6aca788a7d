/** One process a run: a lock file that names its holder. One whose holder is dead is taken over. */
import { createHash, randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import { link, readdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { hostname } from "node:os";
import { join } from "node:path";
import { TinyLoraError } from "../error.js";
import { readingIfThere } from "../files.js";

interface Holder {
  readonly pid: number;
  readonly host: string;
  /** When the process started, in the kernel's ticks, where the system tells: a process id can be given out again. */
  readonly started: string | null;
}

/** Takes the lock of a folder; the result releases it. */
export async function lockFolder(folder: string): Promise<() => Promise<void>> {
  const path = join(folder, "lock");
  const mine = `${path}.${process.pid}.${randomBytes(4).toString("hex")}`;
  try {
    await writeFile(mine, JSON.stringify(thisProcess()));
    await take(path, mine);
  } finally {
    await rm(mine, { force: true });
  }
  const unlock = () => rm(path, { force: true });
  try {
    // Of processes that were killed while they took it, or that will not get it now.
    for (const name of await readdir(folder)) {
      if (name.startsWith("lock.")) await rm(join(folder, name), { force: true });
    }
  } catch (error) {
    await unlock();
    throw error;
  }
  return unlock;
}

/** ERR_LOCKED where another process has a folder, told before long work; `lockFolder` tells it for certain. */
export async function checkUnlocked(folder: string): Promise<void> {
  const path = join(folder, "lock");
  const text = await readIfThere(path);
  if (text !== null) checkDead(path, text);
}

/** Makes `path` a link to the file `mine`, also in place of one whose holder is dead. ERR_LOCKED where a living one has it. */
async function take(path: string, mine: string): Promise<void> {
  for (let attempt = 0; attempt < 5; attempt++) {
    if (await tryLink(mine, path)) return;
    const text = await readIfThere(path);
    if (text === null) continue; // released meanwhile
    checkDead(path, text);
    // Of those that found this dead holder, one at a time goes on: one before may have replaced it, and be writing.
    const turn = `${path}.${createHash("sha256").update(text).digest("hex").slice(0, 8)}`;
    await take(turn, mine);
    try {
      if ((await readIfThere(path)) === text && (await tryReplace(mine, path))) return;
    } finally {
      await rm(turn, { force: true });
    }
  }
  throw new TinyLoraError("ERR_LOCKED", `${path}: other processes are taking this run over`);
}

/** A link appears with its whole content or not at all, and never replaces a file. */
function tryLink(from: string, to: string): Promise<boolean> {
  return done(link(from, to));
}

async function tryReplace(from: string, to: string): Promise<boolean> {
  return (await tryLink(from, `${from}.copy`)) && done(rename(`${from}.copy`, to));
}

/** ENOENT: who got the lock meanwhile has cleared away what others had begun. */
async function done(change: Promise<void>): Promise<boolean> {
  try {
    await change;
    return true;
  } catch (error) {
    if (["EEXIST", "ENOENT"].includes((error as NodeJS.ErrnoException).code!)) return false;
    throw error;
  }
}

function readIfThere(path: string): Promise<string | null> {
  return readingIfThere<string | null>(path, () => readFile(path, "utf8"), null);
}

function checkDead(path: string, text: string): void {
  const holder = parseHolder(text);
  if (!holder || !alive(holder)) return;
  const where = holder.host === hostname() ? `process ${holder.pid}` : `process ${holder.pid} on ${holder.host}`;
  throw new TinyLoraError("ERR_LOCKED", `${path}: this run is being written by ${where}; remove the file if it is not`);
}

function parseHolder(text: string): Holder | null {
  try {
    const holder = JSON.parse(text) as Partial<Holder>;
    const { pid, host, started = null } = holder;
    return typeof pid === "number" && typeof host === "string" ? { pid, host, started } : null;
  } catch {
    return null;
  }
}

function thisProcess(): Holder {
  return { pid: process.pid, host: hostname(), started: statOf(process.pid)?.started ?? null };
}

function alive(holder: Holder): boolean {
  if (holder.host !== hostname()) return true; // nobody can tell from here
  try {
    process.kill(holder.pid, 0);
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EPERM";
  }
  const stat = statOf(holder.pid);
  if (stat?.state === "Z") return false; // ended, and its parent has not asked how
  return holder.started === null || stat === null || stat.started === holder.started;
}

/** Fields 3 and 22 of /proc/PID/stat, where the system has it; the name in field 2 may hold spaces. */
function statOf(pid: number): { state: string; started: string } | null {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    return { state: fields[0]!, started: fields[19]! };
  } catch {
    return null;
  }
}
