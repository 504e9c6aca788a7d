import { TinyLoraError } from "../error.js";
import type { Row } from "./rows.js";

/** The rows of a Parquet file. The reader is loaded only where there is one to read. */
export async function parquetRows(path: string, bytes: Buffer): Promise<Row[]> {
  const [{ parquetReadObjects }, { compressors }] = await Promise.all([
    import("hyparquet"),
    import("hyparquet-compressors"),
  ]);
  let failed = false;
  const file = fileOf(bytes, () => failed);
  try {
    const rows = await parquetReadObjects({ file, compressors });
    return rows.map((row, index) => ({
      place: `${path}, row ${index + 1}`,
      value: plain(row) as Record<string, unknown>,
    }));
  } catch (cause) {
    failed = true;
    throw new TinyLoraError("ERR_DATA", `${path}: broken Parquet file (${(cause as Error).message})`, { cause });
  }
}

/**
 * What the reader asks for its bytes. It begins to read columns before it has looked at all of them; where one that it
 * comes to later is broken, it ends without waiting for the others, and what they then throw would end the process. So
 * bytes come in a later turn of the event loop, and none once it has ended.
 */
function fileOf(bytes: Buffer, ended: () => boolean): { byteLength: number; slice: Slice } {
  const slice: Slice = (start, end) =>
    new Promise((resolve) => {
      setImmediate(() => {
        if (!ended()) resolve(Uint8Array.from(bytes.subarray(start, end)).buffer);
      });
    });
  return { byteLength: bytes.byteLength, slice };
}
type Slice = (start: number, end?: number) => Promise<ArrayBuffer>;

/** 64-bit integers as numbers, or as text where a number cannot hold them. */
function plain(value: unknown): unknown {
  if (typeof value === "bigint") return Number.isSafeInteger(Number(value)) ? Number(value) : String(value);
  if (Array.isArray(value)) return value.map(plain);
  if (typeof value === "object" && value !== null && Object.getPrototypeOf(value) === Object.prototype) {
    return Object.fromEntries(Object.entries(value).map(([key, part]) => [key, plain(part)]));
  }
  return value;
}
