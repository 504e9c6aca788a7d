import { randomBytes } from "node:crypto";
import type { Stats } from "node:fs";
import {
  access,
  constants,
  type FileHandle,
  mkdir,
  open,
  readdir,
  readlink,
  realpath,
  rename,
  rm,
  stat,
} from "node:fs/promises";
import { basename, dirname, join, resolve } from "node:path";
import { TinyLoraError } from "./error.js";

/** The bytes of a file, or what writes them. */
type Content = string | Uint8Array | ((file: FileHandle) => Promise<void>);

/**
 * Writes a file so that a reader, or a machine that loses power, finds either the old bytes or the new ones: temporary
 * file, fsync, rename, fsync of the folder. Creates the folder. A link stays one: what it names is written, also where that
 * is not there yet, but no folder beyond it is made (its disk may not be mounted). A pipe or a device (/dev/null,
 * /dev/stdout) takes the bytes as they come. ERR_FILE where the disk refuses.
 */
export async function writeFileAtomic(path: string, data: Content): Promise<void> {
  await writing(path, () => replaceFile(path, data));
}

/** Makes the folder of a file that is to be written much later. ERR_FILE where that would fail. */
export async function prepareFile(path: string): Promise<void> {
  await writing(path, async () => {
    await makeFolder(dirname(path));
    if (await isFolder(path)) throw new TinyLoraError("ERR_FILE", `${path}: expected a file, found a folder`);
    await access((await isStream(path)) ? path : dirname(await targetOf(path)), constants.W_OK);
  });
}

/**
 * Whether a folder that is to be made and filled much later can be: ERR_FILE where it, or what it would lie in, takes no
 * files.
 */
export async function checkFolder(path: string): Promise<void> {
  if (!(await isThere(path)) && (await linkAt(path)) === undefined) return checkFolder(dirname(path));
  if (!(await isFolder(path))) throw await noFolder(path);
  await writing(path, () => access(path, constants.W_OK));
}

/**
 * Makes a folder and those above it that are not there. Not by mkdir's own `recursive`, which never returns where a folder
 * takes no new ones, as /proc does: it is told that something above is missing, finds it, and asks again.
 */
export async function makeFolder(path: string): Promise<void> {
  const above = dirname(path);
  if (above !== path && !(await isThere(above))) await makeFolder(above);
  await mkdir(path).catch(async (error) => {
    if (await isFolder(path)) return;
    if (error.code !== "EEXIST") throw error;
    throw await noFolder(path, error);
  });
}

async function noFolder(path: string, cause?: unknown): Promise<TinyLoraError> {
  const link = (await isThere(path)) ? undefined : await linkAt(path);
  const found = link === undefined ? "a file" : `a link to ${link}, which is not there`;
  return new TinyLoraError("ERR_FILE", `${path}: expected a folder, found ${found}`, { cause });
}

/** What `write` does to `path`; a refusal of the system's (no space, no right) becomes an ERR_FILE that names the path. */
export function writing<T>(path: string, write: () => Promise<T>): Promise<T> {
  return refusable(`${path}: cannot be written`, write);
}

/**
 * What `read` gives of `path`; a refusal of the system's (no right, too many open files) becomes an ERR_FILE that names
 * the path.
 */
export function reading<T>(path: string, read: () => Promise<T>): Promise<T> {
  return refusable(`${path}: cannot be read`, read);
}

/**
 * What `read` gives of `path`, or `missing` where nothing is there. Any other refusal is an ERR_FILE: what cannot be read
 * now may well be there.
 */
export function readingIfThere<T>(path: string, read: () => Promise<T>, missing: T): Promise<T> {
  return reading(path, () =>
    read().catch((error) => {
      if (isMissing(error)) return missing;
      throw error;
    }),
  );
}

/** Node reads less than 2^31 bytes at once. */
const LONGEST_READ = 2 ** 30;

/** Bytes of an open file, however many. ERR_FILE where it ends before; `path` is for messages. */
export async function readBytesAt(file: FileHandle, path: string, offset: number, bytes: number): Promise<Uint8Array> {
  const data = new Uint8Array(bytes);
  for (let done = 0; done < bytes; ) {
    const { bytesRead } = await file.read(data, done, Math.min(bytes - done, LONGEST_READ), offset + done);
    if (bytesRead === 0) throw new TinyLoraError("ERR_FILE", `${path}: ends before byte ${offset + bytes}`);
    done += bytesRead;
  }
  return data;
}

/** Whether the system says that there is no such file or folder. */
export function isMissing(error: unknown): boolean {
  const { code } = error as NodeJS.ErrnoException;
  return code === "ENOENT" || code === "ENOTDIR";
}

async function refusable<T>(what: string, access: () => Promise<T>): Promise<T> {
  try {
    return await access();
  } catch (cause) {
    if (!isRefusal(cause)) throw cause;
    const [reason] = cause.message.split(","); // "ENOSPC: no space left on device, write"
    throw new TinyLoraError("ERR_FILE", `${what} (${reason})`, { cause });
  }
}

/** Whether the system refused: a full disk, no right, a broken disk. */
export function isRefusal(error: unknown): error is Error {
  return error instanceof Error && "syscall" in error;
}

/** undefined where nothing is there, or nobody may look. */
function statOf(path: string): Promise<Stats | undefined> {
  return stat(path).catch(() => undefined);
}

async function isThere(path: string): Promise<boolean> {
  return (await statOf(path)) !== undefined;
}

/** Whether something is there that takes bytes and keeps none under its name: a pipe, a device. */
async function isStream(path: string): Promise<boolean> {
  const found = await statOf(path);
  return found !== undefined && !found.isFile() && !found.isDirectory();
}

async function isFolder(path: string): Promise<boolean> {
  return (await statOf(path))?.isDirectory() ?? false;
}

/** What a link at this place says, undefined where there is none. */
function linkAt(path: string): Promise<string | undefined> {
  return readlink(path).catch(() => undefined);
}

/** What a path names through links, also where nothing is there yet. Its folder is. */
async function targetOf(path: string): Promise<string> {
  try {
    return await realpath(path);
  } catch (error) {
    if (!isMissing(error)) throw error;
  }
  const link = await linkAt(path);
  if (link === undefined) return path;
  const target = await targetOf(resolve(await realpath(dirname(path)), link));
  if (await isThere(dirname(target))) return target;
  throw new TinyLoraError("ERR_FILE", `${path}: expected a folder for ${target}, which the link names, found none`);
}

async function replaceFile(path: string, data: Content): Promise<void> {
  if (await isStream(path)) return fill(await open(path, "w"), data, false);
  await makeFolder(dirname(path));
  const target = await targetOf(path);
  const folder = dirname(target);
  const temporary = join(folder, `.${basename(target)}.${process.pid}.${randomBytes(4).toString("hex")}`);
  try {
    await fill(await open(temporary, "wx"), data, true);
    await rename(temporary, target);
  } catch (error) {
    await rm(temporary, { force: true });
    throw error;
  }
  await syncPath(folder);
}

async function fill(file: FileHandle, data: Content, sync: boolean): Promise<void> {
  try {
    await (typeof data === "function" ? data(file) : file.writeFile(data));
    if (sync) await file.sync();
  } finally {
    await file.close();
  }
}

/**
 * Removes what a killed process has left half written in a folder (writeFileAtomic). Only for one that nobody else writes
 * to now.
 */
export async function removeTemporaries(folder: string): Promise<void> {
  await writing(folder, async () => {
    const names = await readingIfThere(folder, () => readdir(folder), []);
    for (const name of names.filter((name) => /^\..+\.\d+\.[0-9a-f]{8}$/.test(name))) {
      await rm(join(folder, name), { recursive: true, force: true });
    }
  });
}

/** Makes what a file holds, or the names in a folder, survive a power loss. */
export async function syncPath(path: string): Promise<void> {
  const handle = await open(path, "r");
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}
