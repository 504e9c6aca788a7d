import { readFile } from "node:fs/promises";
import { whyNot } from "../lib/error.js";
import { TinyLoraError, writeFileAtomic } from "../lib/index.js";

/** Bytes of standard input, which may have no end. */
const LARGEST = 500_000_000;

/** All of a file, or of standard input for "-". */
export async function readInput(path: string): Promise<string> {
  if (path === "-") {
    if (process.stdin.isTTY) console.error("reading standard input, until Ctrl-D");
    return (await textOf(process.stdin)).trimEnd();
  }
  const bytes = await readFile(path).catch((cause) => {
    throw new TinyLoraError("ERR_FILE", `${path}: cannot be read (${whyNot(cause)})`, { cause });
  });
  return decoded(bytes);
}

async function textOf(input: AsyncIterable<Uint8Array>): Promise<string> {
  const chunks: Uint8Array[] = [];
  let length = 0;
  for await (const chunk of input) {
    length += chunk.byteLength;
    if (length > LARGEST) {
      throw new TinyLoraError("ERR_DATA", `standard input: expected at most ${LARGEST} bytes, found more`);
    }
    chunks.push(chunk);
  }
  return decoded(Buffer.concat(chunks));
}

/** Without a byte order mark. */
function decoded(bytes: Uint8Array): string {
  return new TextDecoder().decode(bytes);
}

/** To a file, whole or not at all, or to standard output for "-". */
export async function writeOutput(path: string, data: string): Promise<void> {
  if (path === "-") process.stdout.write(data);
  else await writeFileAtomic(path, data);
}

/** 1 member, 1,024 threads. */
export function counted(count: number, noun: string): string {
  return `${count.toLocaleString("en-US")} ${noun}${count === 1 ? "" : "s"}`;
}

/** A path as a shell takes it, for commands that a message names. */
export function quoted(path: string): string {
  return /^[\w./:@%+=,-]+$/.test(path) ? path : `'${path.replaceAll("'", "'\\''")}'`;
}

/** Columns under a header; numbers to the right. */
export function table(header: readonly string[], rows: readonly (readonly (string | number)[])[]): string {
  const cells = [header, ...rows.map((row) => row.map(String))];
  const widths = header.map((_, column) => Math.max(...cells.map((row) => row[column]!.length)));
  const right = header.map((_, column) => rows.every((row) => /^[+-]?[\d.,]+( %)?$/.test(String(row[column]))));
  const line = (row: readonly string[]) =>
    row
      .map((cell, column) => (right[column] ? cell.padStart(widths[column]!) : cell.padEnd(widths[column]!)))
      .join("  ")
      .trimEnd();
  return `${cells.map(line).join("\n")}\n`;
}
