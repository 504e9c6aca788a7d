import { closeSync, constants, existsSync, fstatSync, openSync, readFileSync, readSync, statSync } from "node:fs";
import { TinyLoraError, whyNot } from "../error.js";
import { isObject } from "../is-object.js";
import { Fields } from "./fields.js";

/** Opens a file for one synchronous look; `size` is that of the open file. */
export function withFile<T>(file: string, use: (handle: number, size: number) => T): T {
  // Without waiting for a writer, where the file is a pipe.
  const handle = orFileError(file, () => openSync(file, constants.O_RDONLY | (constants.O_NONBLOCK ?? 0)));
  try {
    const { size } = orFileError(file, () => {
      const status = fstatSync(handle);
      if (!status.isFile()) throw new Error("not a file");
      return status;
    });
    return use(handle, size);
  } finally {
    closeSync(handle);
  }
}

/** Exactly `length` bytes from `offset`; the caller has checked that the file has them. */
export function readBytes(file: string, handle: number, offset: number, length: number): Buffer {
  const bytes = Buffer.allocUnsafe(length);
  for (let done = 0; done < length; ) {
    const count = orFileError(file, () => readSync(handle, bytes, done, length - done, offset + done));
    if (count === 0)
      throw new TinyLoraError("ERR_FILE", `${file}: expected ${length} bytes at ${offset}, found ${done}`);
    done += count;
  }
  return bytes;
}

/** Bytes of a text beside the weights: the largest published tokenizer.json has some 35 million. */
const LONGEST_TEXT = 2 ** 27;

export function readText(file: string): string {
  return orFileError(file, () => {
    const { size } = statSync(file);
    if (size > LONGEST_TEXT) throw new Error(`expected at most ${LONGEST_TEXT} bytes, found ${size}`);
    return readFileSync(file, "utf8");
  });
}

/** A JSON file that holds one object. */
export function readJson(file: string): Fields {
  return new Fields(file, readJsonObject(file));
}
export function readJsonObject(file: string): Record<string, unknown> {
  return parseJsonObject(file, readText(file));
}
export function readJsonIfThere(file: string): Fields {
  return existsSync(file) ? readJson(file) : new Fields(file, {});
}

export function parseJsonObject(place: string, text: string): Record<string, unknown> {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw new TinyLoraError("ERR_MODEL", `${place}: not JSON: ${firstLine(error)}`, { cause: error });
  }
  if (!isObject(value)) throw new TinyLoraError("ERR_MODEL", `${place}: expected a JSON object, found something else`);
  return value;
}

/** Of a message that may quote a file: its ends where it is long. */
export function firstLine(error: unknown): string {
  const line = (error instanceof Error ? error.message : String(error)).split("\n")[0] ?? "";
  return line.length > 400 ? `${line.slice(0, 200)} ... ${line.slice(-195)}` : line;
}

/** What `use` gives of a file or folder; a refusal of the system's becomes an ERR_FILE that names it. */
export function orFileError<T>(file: string, use: () => T): T {
  try {
    return use();
  } catch (error) {
    const reason = whyNot(error) ?? firstLine(error);
    throw new TinyLoraError("ERR_FILE", `${file}: cannot be read (${reason})`, { cause: error });
  }
}
