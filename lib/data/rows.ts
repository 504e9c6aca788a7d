/** Rows of data files: .jsonl, .json, .csv, .tsv, .parquet. */
import { readFile } from "node:fs/promises";
import { extname } from "node:path";
import { TinyLoraError } from "../error.js";
import { show } from "../show.js";
import { csvRows } from "./csv.js";
import { parquetRows } from "./parquet.js";

export interface Row {
  /** File and line (or number) for messages. */
  readonly place: string;
  readonly value: Record<string, unknown>;
}

/** Takes what is wrong with a row, or throws it. */
export type OnBroken = (error: TinyLoraError) => void;

export const stop: OnBroken = (error) => {
  throw error;
};

export const DATA_EXTENSIONS = [".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet"];

export function isDataFile(path: string): boolean {
  return DATA_EXTENSIONS.includes(extname(path).toLowerCase());
}

/** All rows of a file. A broken one goes to `onBroken` and is left out if that returns. */
export async function readRows(path: string, onBroken: OnBroken = stop): Promise<Row[]> {
  const bytes = await readBytes(path);
  const rows = await parse(path, bytes, onBroken);
  if (rows.length === 0) throw new TinyLoraError("ERR_DATA", `${path}: expected problems, found none`);
  return rows;
}

function parse(path: string, bytes: Buffer, onBroken: OnBroken): Row[] | Promise<Row[]> {
  const extension = extname(path).toLowerCase();
  if (extension === ".parquet") return parquetRows(path, bytes);
  const text = decode(path, bytes);
  if (extension === ".csv" || extension === ".tsv")
    return csvRows(path, text, extension === ".csv" ? "," : "\t", onBroken);
  return extension === ".json" ? listRows(path, text, onBroken) : lineRows(path, text, onBroken);
}

async function readBytes(path: string): Promise<Buffer> {
  try {
    return await readFile(path);
  } catch (cause) {
    const code = (cause as NodeJS.ErrnoException).code;
    const reason = code === "ENOENT" ? "no such file" : code;
    throw new TinyLoraError("ERR_FILE", `${path}: cannot be read (${reason})`, { cause });
  }
}

function decode(path: string, bytes: Buffer): string {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes).replace(/^\uFEFF/, "");
  } catch (cause) {
    throw new TinyLoraError("ERR_FILE", `${path}: cannot be read (not UTF-8 text)`, { cause });
  }
}

function lineRows(path: string, text: string, onBroken: OnBroken): Row[] {
  return text.split("\n").flatMap((line, index) => {
    if (line.trim() === "") return [];
    const place = `${path}:${index + 1}`;
    return guarded(onBroken, () => ({ place, value: toObject(place, parseJson(place, line)) }));
  });
}

function listRows(path: string, text: string, onBroken: OnBroken): Row[] {
  const list = parseJson(path, text);
  if (!Array.isArray(list)) throw new TinyLoraError("ERR_DATA", `${path}: expected a list of problems`);
  return list.flatMap((item, index) => {
    const place = `${path}, problem ${index + 1}`;
    return guarded(onBroken, () => ({ place, value: toObject(place, item) }));
  });
}

/** What `make` makes, or nothing where it throws an error that `onBroken` takes. */
export function guarded<T>(onBroken: OnBroken, make: () => T): T[] {
  try {
    return [make()];
  } catch (error) {
    if (!(error instanceof TinyLoraError)) throw error;
    onBroken(error);
    return [];
  }
}

function parseJson(place: string, text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new TinyLoraError("ERR_DATA", `${place}: broken JSON (${(cause as Error).message})`, { cause });
  }
}

function toObject(place: string, value: unknown): Record<string, unknown> {
  if (typeof value === "object" && value !== null && !Array.isArray(value)) return value as Record<string, unknown>;
  throw new TinyLoraError("ERR_DATA", `${place}: expected an object, found ${show(value)}`);
}
