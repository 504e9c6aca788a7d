import { open } from "node:fs/promises";
import { TinyLoraError } from "../error.js";
import type { TensorSource } from "../native/addon.js";

const SIZES: Readonly<Record<string, number>> = { F32: 4, F16: 2, BF16: 2 };
const LONGEST_HEADER = 100 * 1024 * 1024;

/** Where the tensors of one file lie. Reads the header only and believes nothing that it says. */
export async function safetensorsSources(file: string): Promise<TensorSource[]> {
  const refuse = (what: string) => new TinyLoraError("ERR_FILE", `${file}: ${what}`);
  const handle = await open(file, "r").catch((cause) => {
    throw new TinyLoraError("ERR_FILE", `${file}: cannot be read (${cause.code})`, { cause });
  });
  try {
    const { size } = await handle.stat();
    const prefix = Buffer.alloc(8);
    if (size < 8) throw refuse(`expected a safetensors file, found ${size} bytes`);
    await handle.read(prefix, 0, 8, 0);
    const length = Number(prefix.readBigUInt64LE(0));
    if (length > Math.min(LONGEST_HEADER, size - 8)) {
      throw refuse(`expected a header within the file's ${size} bytes, found a length of ${length}`);
    }
    const header = Buffer.alloc(length);
    await handle.read(header, 0, length, 8);
    return parseHeader(header.toString("utf8"), file, 8 + length, size);
  } finally {
    await handle.close();
  }
}

function parseHeader(text: string, file: string, start: number, size: number): TensorSource[] {
  let header: Record<string, { dtype?: unknown; shape?: unknown; data_offsets?: unknown } | null>;
  try {
    header = JSON.parse(text);
  } catch (cause) {
    throw new TinyLoraError("ERR_FILE", `${file}: the safetensors header is not JSON`, { cause });
  }
  return Object.entries(header).flatMap(([name, entry]) => {
    if (name === "__metadata__") return [];
    const { dtype, shape, data_offsets: offsets } = entry ?? {};
    const refuse = (what: string) => new TinyLoraError("ERR_FILE", `${file}: tensor ${name}: ${what}`);
    if (typeof dtype !== "string" || !(dtype in SIZES)) throw refuse(`expected dtype F32, F16 or BF16, found ${dtype}`);
    if (!isSizes(shape)) throw refuse("expected a list of sizes as shape");
    if (!isSizes(offsets) || offsets.length !== 2) throw refuse("expected two offsets");
    const [begin, end] = offsets as [number, number];
    const bytes = shape.reduce((product, length) => product * length, SIZES[dtype]!);
    if (end - begin !== bytes || start + end > size) {
      throw refuse(`expected ${bytes} bytes within the file's ${size}, found ${begin} to ${end} after ${start}`);
    }
    return [{ name, file, offset: start + begin, bytes, type: dtype as TensorSource["type"], shape }];
  });
}

function isSizes(value: unknown): value is number[] {
  return Array.isArray(value) && value.every((size) => Number.isSafeInteger(size) && size >= 0);
}
