/** One process a run: a lock file that names its holder. One whose holder is dead is taken over. */
import { randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import { link, readFile, rename, rm, writeFile } from "node:fs/promises";
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
  const mine = JSON.stringify({ pid: process.pid, host: hostname(), started: startOf(process.pid) } satisfies Holder);
  const temporary = `${path}.${process.pid}.${randomBytes(4).toString("hex")}`;
  await writeFile(temporary, mine);
  try {
    for (let attempt = 0; attempt < 5; attempt++) {
      if (await tryLink(temporary, path)) return () => rm(path, { force: true });
      await removeDead(path);
    }
  } finally {
    await rm(temporary, { force: true });
  }
  throw new TinyLoraError("ERR_LOCKED", `${folder}: another process is taking this run over`);
}

/** A link appears with its whole content or not at all, and never replaces a file. */
async function tryLink(from: string, to: string): Promise<boolean> {
  try {
    await link(from, to);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "EEXIST") return false;
    throw error;
  }
}

async function removeDead(path: string): Promise<void> {
  const text = await readingIfThere<string | null>(path, () => readFile(path, "utf8"), null);
  if (text === null) return;
  const holder = parseHolder(text);
  if (holder && alive(holder)) {
    const where = holder.host === hostname() ? `process ${holder.pid}` : `process ${holder.pid} on ${holder.host}`;
    throw new TinyLoraError(
      "ERR_LOCKED",
      `${path}: this run is being written by ${where}; remove the file if it is not`,
    );
  }
  // Moved aside first: of two that find a dead holder, only one moves that very file.
  const aside = `${path}.dead.${process.pid}.${randomBytes(4).toString("hex")}`;
  await rename(path, aside).catch(() => {});
  const moved = await readFile(aside, "utf8").catch(() => text);
  if (moved !== text) await link(aside, path).catch(() => {}); // a new holder's: put it back
  await rm(aside, { force: true });
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

function alive(holder: Holder): boolean {
  if (holder.host !== hostname()) return true; // nobody can tell from here
  try {
    process.kill(holder.pid, 0);
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EPERM";
  }
  const started = startOf(holder.pid);
  return holder.started === null || started === null || started === holder.started;
}

/** Field 22 of /proc/PID/stat; the name in field 2 may hold spaces. */
function startOf(pid: number): string | null {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
    return stat.slice(stat.lastIndexOf(")") + 2).split(" ")[19] ?? null;
  } catch {
    return null;
  }
}
