/** Rows of data files: .jsonl, .json, .csv, .tsv, .parquet. */
import { access, constants, readFile, stat } from "node:fs/promises";
import { extname } from "node:path";
import { TinyLoraError, whyNot } from "../error.js";
import { turn } from "../in-turn.js";
import { isObject } from "../is-object.js";
import { show } from "../show.js";
import { guarded, type OnBroken } from "./broken.js";
import { csvRows } from "./csv.js";
import { parquetRows } from "./parquet.js";

export interface Row {
  /** File and line (or number) for messages. */
  readonly place: string;
  readonly value: Record<string, unknown>;
}

export const DATA_EXTENSIONS = [".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet"];

export function isDataFile(path: string): boolean {
  return DATA_EXTENSIONS.includes(extname(path).toLowerCase());
}

/** Bytes of a file: about the longest text that JavaScript has, and what JSON.parse takes at once. */
export const LARGEST = 500_000_000;
const LARGEST_JSON = 128 * 2 ** 20;
const LINES_A_TURN = 10_000;

/** All rows of a file. A broken one goes to `onBroken` and is left out if that returns. */
export async function readRows(path: string, onBroken: OnBroken, signal: AbortSignal | undefined): Promise<Row[]> {
  await checkSize(path);
  const rows = await parse(path, onBroken, signal);
  if (rows.length === 0) throw new TinyLoraError("ERR_DATA", `${path}: expected problems, found none`);
  return rows;
}

async function parse(path: string, onBroken: OnBroken, signal: AbortSignal | undefined): Promise<Row[]> {
  const extension = extname(path).toLowerCase();
  if (extension === ".parquet") return parquetRows(path, signal);
  const text = decode(path, await readable(path, () => readFile(path)));
  if (extension === ".csv") return csvRows(path, text, ",", onBroken, signal);
  if (extension === ".tsv") return csvRows(path, text, "\t", onBroken, signal);
  return extension === ".json" ? listRows(path, text, onBroken) : lineRows(path, text, onBroken, signal);
}

async function checkSize(path: string): Promise<void> {
  const most = extname(path).toLowerCase() === ".json" ? LARGEST_JSON : LARGEST;
  const { size } = await readable(path, async () => {
    await access(path, constants.R_OK);
    return stat(path);
  });
  if (size <= most) return;
  throw new TinyLoraError("ERR_DATA", `${path}: expected at most ${most} bytes, found ${size}: cut it into several`);
}

async function readable<T>(path: string, read: () => Promise<T>): Promise<T> {
  try {
    return await read();
  } catch (cause) {
    throw new TinyLoraError("ERR_FILE", `${path}: cannot be read (${whyNot(cause)})`, { cause });
  }
}

function decode(path: string, bytes: Buffer): string {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes); // without a byte order mark
  } catch (cause) {
    throw new TinyLoraError("ERR_FILE", `${path}: cannot be read (not UTF-8 text)`, { cause });
  }
}

/** Line by line, with turns for others: a file may have a hundred million. */
async function lineRows(
  path: string,
  text: string,
  onBroken: OnBroken,
  signal: AbortSignal | undefined,
): Promise<Row[]> {
  const rows: Row[] = [];
  for (let [start, number] = [0, 1]; start < text.length; number++) {
    const found = text.indexOf("\n", start);
    const end = found < 0 ? text.length : found;
    if (number % LINES_A_TURN === 0) await turn(signal);
    const line = end > start ? text.slice(start, end) : "";
    if (line.trim() !== "") {
      const place = `${path}:${number}`;
      rows.push(...guarded(onBroken, () => ({ place, value: toObject(place, parseJson(place, line)) })));
    }
    start = end + 1;
  }
  return rows;
}

function listRows(path: string, text: string, onBroken: OnBroken): Row[] {
  const list = parseJson(path, text);
  if (!Array.isArray(list)) throw new TinyLoraError("ERR_DATA", `${path}: expected a list of problems`);
  return list.flatMap((item, index) => {
    const place = `${path}, problem ${index + 1}`;
    return guarded(onBroken, () => ({ place, value: toObject(place, item) }));
  });
}

function parseJson(place: string, text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new TinyLoraError("ERR_DATA", `${place}: broken JSON (${(cause as Error).message})`, { cause });
  }
}

function toObject(place: string, value: unknown): Record<string, unknown> {
  if (isObject(value)) return value;
  throw new TinyLoraError("ERR_DATA", `${place}: expected an object, found ${show(value)}`);
}
