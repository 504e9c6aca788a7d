import { readFile } from "node:fs/promises";
import { TinyLoraError } from "../error.js";

export interface Row {
  /** File and line (or number) for messages. */
  readonly place: string;
  readonly value: Record<string, unknown>;
}

/** The objects in a .jsonl file (one a line; empty lines are skipped) or in a .json file (a list). */
export async function readRows(path: string): Promise<Row[]> {
  const text = (await readText(path)).replace(/^\uFEFF/, "");
  const rows = path.endsWith(".json") ? listRows(path, text) : lineRows(path, text);
  if (rows.length === 0) throw new TinyLoraError("ERR_DATA", `${path}: expected problems, found none`);
  return rows;
}

async function readText(path: string): Promise<string> {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(await readFile(path));
  } catch (cause) {
    const code = (cause as NodeJS.ErrnoException).code;
    const reason = code === "ENOENT" ? "no such file" : code?.startsWith("ERR_ENCODING") ? "not UTF-8 text" : code;
    throw new TinyLoraError("ERR_FILE", `${path}: cannot be read (${reason})`, { cause });
  }
}

function lineRows(path: string, text: string): Row[] {
  return text.split("\n").flatMap((line, index) => {
    if (line.trim() === "") return [];
    const place = `${path}:${index + 1}`;
    return [{ place, value: toObject(place, parseJson(place, line)) }];
  });
}

function listRows(path: string, text: string): Row[] {
  const list = parseJson(path, text);
  if (!Array.isArray(list)) throw new TinyLoraError("ERR_DATA", `${path}: expected a list of problems`);
  return list.map((item, index) => {
    const place = `${path}, problem ${index + 1}`;
    return { place, value: toObject(place, item) };
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
  if (typeof value === "object" && value !== null && !Array.isArray(value)) return value as Record<string, unknown>;
  throw new TinyLoraError("ERR_DATA", `${place}: expected an object, found ${JSON.stringify(value)?.slice(0, 40)}`);
}
