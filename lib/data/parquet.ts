import { TinyLoraError } from "../error.js";
import type { Row } from "./rows.js";

/** The rows of a Parquet file. The reader is loaded only where there is one to read. */
export async function parquetRows(path: string, bytes: Buffer): Promise<Row[]> {
  const [{ parquetReadObjects }, { compressors }] = await Promise.all([
    import("hyparquet"),
    import("hyparquet-compressors"),
  ]);
  // A slice of Node's pool is no whole ArrayBuffer.
  const file = bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength) as ArrayBuffer;
  try {
    const rows = await parquetReadObjects({ file, compressors });
    return rows.map((row, index) => ({
      place: `${path}, row ${index + 1}`,
      value: plain(row) as Record<string, unknown>,
    }));
  } catch (cause) {
    throw new TinyLoraError("ERR_DATA", `${path}: broken Parquet file (${(cause as Error).message})`, { cause });
  }
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
