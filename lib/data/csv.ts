import { CsvError, parse } from "csv-parse/sync";
import { TinyLoraError } from "../error.js";
import type { OnBroken, Row } from "./rows.js";

/** Letters of a record. */
const LONGEST = 2 ** 24;

/** The records of a CSV file whose first line names the columns. */
export function csvRows(path: string, text: string, delimiter: string, onBroken: OnBroken): Row[] {
  const broken = (error: CsvError) =>
    new TinyLoraError("ERR_DATA", `${path}:${lineOf(error)}: broken CSV (${oneLine(error.message)})`, { cause: error });
  try {
    const records = parse(text, {
      columns: true,
      delimiter,
      info: true,
      max_record_size: LONGEST, // of a quote that is not closed, too
      skip_empty_lines: true,
      // Without this the first wrong record throws; with it every wrong one comes here.
      skip_records_with_error: true,
      on_skip: (error) => {
        if (error) onBroken(broken(error));
        return undefined;
      },
    }) as unknown as { info: { lines: number }; record: Record<string, unknown> }[];
    return records.map(({ info, record }) => ({ place: `${path}:${info.lines}`, value: record }));
  } catch (error) {
    throw error instanceof CsvError ? broken(error) : error;
  }
}

/** A message that quotes the file. */
function oneLine(message: string): string {
  const line = message.replace(/\s+/g, " ");
  return line.length > 300 ? `${line.slice(0, 297)}...` : line;
}

function lineOf(error: CsvError): string {
  const { lines } = error as CsvError & { lines?: unknown };
  return typeof lines === "number" ? String(lines) : "?";
}
