/** The process that a Parquet file is read in: see parquet.ts, which starts it with the file's name. */
import { readFileSync } from "node:fs";
import { parquetMetadata, parquetReadObjects } from "hyparquet";
import { parquetHeader } from "hyparquet/src/column.js";
import { compressors, decompressZstd } from "hyparquet-compressors";

/** What it tells: rows, some at a time, that these were all, or why there are none. */
export type Found = { readonly rows: readonly Record<string, unknown>[] } | "read" | { readonly broken: string };

const AT_ONCE = 10_000;

/** Rows of a file, and values of its columns together. */
const [MOST_ROWS, MOST_VALUES] = [10_000_000, 100_000_000];
/** Bytes of its pages together, inflated. */
const MOST_BYTES = 500_000_000;

const bytes = new Uint8Array(readFileSync(process.argv[2]!));
try {
  const rows = await readAll();
  for (let i = 0; i < rows.length; i += AT_ONCE) await tell({ rows: rows.slice(i, i + AT_ONCE) });
  await tell("read");
} catch (cause) {
  await tell({ broken: cause instanceof Error ? cause.message : String(cause) });
}
process.disconnect();

function tell(found: Found): Promise<unknown> {
  return new Promise((resolve) => process.send!(found, resolve));
}

async function readAll(): Promise<Record<string, unknown>[]> {
  const metadata = parquetMetadata(bytes);
  checkPages(metadata);
  const file = {
    byteLength: bytes.byteLength,
    slice: (start: number, end?: number) => bytes.slice(start, end).buffer,
  };
  const rows = await parquetReadObjects({ file, metadata, compressors: { ...compressors, ZSTD } });
  return rows.map((row) => plain(row) as Record<string, unknown>);
}

/** No longer than the page's header says: what the frame says may be anything. */
function ZSTD(input: Uint8Array, length: number): Uint8Array {
  return decompressZstd(input, new Uint8Array(length));
}

/** The reader makes as many values and bytes as the headers of pages say: a few bytes may say a milliard. */
function checkPages({ num_rows: rows, row_groups: groups }: ReturnType<typeof parquetMetadata>): void {
  atMost("rows", MOST_ROWS, rows);
  let [values, inflated] = [0, 0];
  for (const { meta_data: column } of groups.flatMap(({ columns }) => columns)) {
    if (!column) continue;
    const first = Number(column.dictionary_page_offset ?? column.data_page_offset);
    const last = Math.min(first + Number(column.total_compressed_size), bytes.byteLength);
    const reader = { view: new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength), offset: first };
    while (reader.offset < last - 1) {
      const page = parquetHeader(reader);
      const { num_values: count } = page.data_page_header ??
        page.data_page_header_v2 ??
        page.dictionary_page_header ?? { num_values: 0 };
      values += notNegative(count);
      inflated += notNegative(page.uncompressed_page_size);
      atMost("values", MOST_VALUES, values);
      atMost("bytes in pages", MOST_BYTES, inflated);
      reader.offset += notNegative(page.compressed_page_size);
    }
  }
}

function notNegative(count: number): number {
  if (!(count >= 0)) throw new Error(`a page of ${JSON.stringify(count)} values`);
  return count;
}

function atMost(what: string, most: number, found: number | bigint): void {
  if (!(found <= most)) throw new Error(`expected at most ${most} ${what}, found ${found}`);
}

/** 64-bit integers as numbers, or as text where a number cannot hold them. */
function plain(value: unknown): unknown {
  if (typeof value === "bigint") return Number.isSafeInteger(Number(value)) ? Number(value) : String(value);
  if (Array.isArray(value)) return value.map(plain);
  if (typeof value === "object" && value !== null && Object.getPrototypeOf(value) === Object.prototype) {
    return Object.fromEntries(Object.entries(value).map(([key, part]) => [key, plain(part)]));
  }
  return value;
}
