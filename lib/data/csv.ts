import { Readable } from "node:stream";
import { CsvError, parse } from "csv-parse";
import { TinyLoraError } from "../error.js";
import { turn } from "../in-turn.js";
import { shortened, show } from "../show.js";
import type { OnBroken } from "./broken.js";
import type { Row } from "./rows.js";

/** Letters of a record. */
const LONGEST = 2 ** 24;
/** Letters of the text, which are parsed at once, and records, between two turns for others. */
const [LETTERS_AT_ONCE, RECORDS_A_TURN] = [2 ** 16, 1000];

/** The records of a CSV file whose first line names the columns. */
export async function csvRows(
  path: string,
  text: string,
  delimiter: string,
  onBroken: OnBroken,
  signal: AbortSignal | undefined,
): Promise<Row[]> {
  const broken = (error: CsvError) =>
    new TinyLoraError("ERR_DATA", `${path}:${lineOf(error)}: broken CSV (${oneLine(error.message)})`, { cause: error });
  const parser = parse({
    columns: (names: string[]) => {
      checkDelimiter(path, names, delimiter);
      checkDifferent(path, names);
      return names;
    },
    delimiter,
    // Each line may have another: what is appended to a file comes from another system.
    record_delimiter: ["\r\n", "\n", "\r"],
    info: true,
    max_record_size: LONGEST, // of a quote that is not closed, too
    skip_empty_lines: true,
    // Without this the first wrong record throws; with it every wrong one comes here.
    skip_records_with_error: true,
    on_skip: (error) => {
      try {
        if (error) onBroken(broken(error));
      } catch (refusal) {
        parser.destroy(refusal as Error);
      }
      return undefined;
    },
  });
  const rows: Row[] = [];
  try {
    for await (const { info, record } of Readable.from(pieces(text)).pipe(parser)) {
      rows.push({ place: `${path}:${info.lines}`, value: record });
      if (rows.length % RECORDS_A_TURN === 0) await turn(signal);
    }
  } catch (error) {
    throw error instanceof CsvError ? broken(error) : error;
  }
  return rows;
}

/** Spreadsheets of many countries write semicolons in a .csv: then all names are one. */
function checkDelimiter(path: string, names: readonly string[], delimiter: string): void {
  const [only = ""] = names;
  if (names.length > 1 || !/[,;\t]/.test(only)) return;
  const expected = delimiter === "," ? "commas" : "tabs";
  throw new TinyLoraError("ERR_DATA", `${path}:1: expected ${expected} between the columns, found ${show(only)}`);
}

/** Of columns with one name a record would keep the last. Spreadsheets write columns without name and use. */
function checkDifferent(path: string, names: readonly string[]): void {
  const twice = names.find((name, i) => name !== "" && names.indexOf(name) < i);
  if (twice === undefined) return;
  throw new TinyLoraError("ERR_DATA", `${path}:1: expected columns of different names, found several ${show(twice)}`);
}

function* pieces(text: string): Generator<string> {
  for (let start = 0; start < text.length; start += LETTERS_AT_ONCE) yield text.slice(start, start + LETTERS_AT_ONCE);
}

/** A message that quotes the file. */
function oneLine(message: string): string {
  return shortened(message.replace(/\s+/g, " "), 300);
}

function lineOf(error: CsvError): string {
  const { lines } = error as CsvError & { lines?: unknown };
  return typeof lines === "number" ? String(lines) : "?";
}
