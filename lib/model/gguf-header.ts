// The header of a .gguf file: metadata and where each tensor lies. Read by own code: @huggingface/gguf reads beyond a
// truncated file as zeros, cuts strings at the end of its buffer and drops a leading U+FEFF of tokens.
import { TinyLoraError } from "../error.js";
import { show } from "../show.js";
import { readBytes, withFile } from "./files.js";

export interface GgufTensor {
  readonly name: string;
  /** Innermost dimension first. */
  readonly dimensions: number[];
  /** Number of the format in ggml. */
  readonly type: number;
  /** Bytes from the start of the file. */
  readonly offset: number;
}

export interface GgufHeader {
  readonly file: string;
  readonly size: number;
  readonly metadata: ReadonlyMap<string, unknown>;
  readonly tensors: readonly GgufTensor[];
}

/** No tokenizer comes near them: bytes, and values (keys, tensors, elements of arrays), each an object in memory. */
const LONGEST_HEADER = 256 * 2 ** 20;
const MOST_VALUES = 2 ** 23;
const CHUNK = 4 * 2 ** 20;
const MOST_DIMENSIONS = 4;

export function readGgufHeader(file: string): GgufHeader {
  return withFile(file, (handle, size) => {
    const reader = new Reader(file, handle, size);
    if (size < 24 || reader.take(4, "magic").toString("latin1") !== "GGUF") {
      fail(file, 'expected a file that begins with "GGUF", found something else');
    }
    const version = reader.u32("version");
    if (version !== 2 && version !== 3) {
      const hint = version > 0 && version % 65536 === 0 ? " (a big-endian file)" : "";
      fail(file, `version: expected 2 or 3, found ${version}${hint}`);
    }
    const tensorCount = reader.values("tensor count", 24);
    const valueCount = reader.values("metadata count", 12);
    const metadata = readMetadata(reader, valueCount);
    const tensors = Array.from({ length: tensorCount }, () => readTensor(reader));
    const alignment = metadata.get("general.alignment") ?? 32;
    if (typeof alignment !== "number" || alignment < 8 || alignment > 2 ** 20 || alignment % 8 !== 0) {
      fail(file, `general.alignment: expected a multiple of 8 up to ${2 ** 20}, found ${show(alignment)}`);
    }
    const data = Math.ceil(reader.position / alignment) * alignment;
    return { file, size, metadata, tensors: tensors.map((tensor) => place(file, tensor, data, alignment)) };
  });
}

function readMetadata(reader: Reader, count: number): Map<string, unknown> {
  const metadata = new Map<string, unknown>();
  for (let i = 0; i < count; ++i) {
    const key = reader.string("metadata key");
    if (metadata.has(key)) fail(reader.file, `metadata ${show(key)}: expected once, found a second time`);
    metadata.set(key, reader.value(reader.u32(key), key, 0));
  }
  return metadata;
}

function readTensor(reader: Reader): GgufTensor {
  const name = reader.string("tensor name");
  const rank = reader.u32(name);
  if (rank > MOST_DIMENSIONS) {
    fail(reader.file, `tensor ${show(name)}: expected at most ${MOST_DIMENSIONS} dimensions, found ${rank}`);
  }
  const dimensions = Array.from({ length: rank }, () => reader.safe(name));
  return { name, dimensions, type: reader.u32(name), offset: reader.safe(name) };
}

function place(file: string, tensor: GgufTensor, data: number, alignment: number): GgufTensor {
  if (tensor.offset % alignment !== 0) {
    fail(file, `tensor ${tensor.name}: offset: expected a multiple of ${alignment}, found ${tensor.offset}`);
  }
  return { ...tensor, offset: data + tensor.offset };
}

/** Takes little-endian values from the front of a file; every length is checked against what is left of it. */
class Reader {
  readonly file: string;
  position = 0;
  readonly #handle: number;
  readonly #end: number;
  #buffer = Buffer.alloc(0);
  #values = 0;

  constructor(file: string, handle: number, size: number) {
    this.file = file;
    this.#handle = handle;
    this.#end = Math.min(size, LONGEST_HEADER);
  }

  take(length: number, what: string): Buffer {
    const end = this.position + length;
    if (end > this.#end) {
      fail(this.file, `${show(what)}: expected ${length} bytes at ${this.position}, found the end at ${this.#end}`);
    }
    if (end > this.#buffer.length) this.#grow(end);
    const bytes = this.#buffer.subarray(this.position, end);
    this.position = end;
    return bytes;
  }

  u32(what: string): number {
    return this.take(4, what).readUInt32LE();
  }
  /** A 64-bit number that JavaScript can hold. */
  safe(what: string): number {
    const value = this.take(8, what).readBigUInt64LE();
    if (value > BigInt(Number.MAX_SAFE_INTEGER)) fail(this.file, `${show(what)}: expected below 2^53, found ${value}`);
    return Number(value);
  }
  /** How many things follow that take at least `bytes` each. */
  count(what: string, bytes: number): number {
    const most = Math.floor((this.#end - this.position) / bytes);
    const value = this.take(8, what).readBigUInt64LE();
    if (value > BigInt(most))
      fail(this.file, `${show(what)}: expected at most ${most}, as the file ends, found ${value}`);
    return Number(value);
  }
  /** The same of values, which count together. */
  values(what: string, bytes: number): number {
    const value = this.count(what, bytes);
    this.#values += value;
    if (this.#values > MOST_VALUES) {
      fail(this.file, `${show(what)}: expected at most ${MOST_VALUES} values in a header, found ${this.#values}`);
    }
    return value;
  }
  string(what: string): string {
    return this.take(this.count(what, 1), what).toString("utf8");
  }

  value(type: number, key: string, depth: number): unknown {
    const scalar = SCALARS[type];
    if (scalar) return scalar.read(this.take(scalar.bytes, key));
    if (type === STRING) return this.string(key);
    if (type !== ARRAY || depth > 0) fail(this.file, `metadata ${show(key)}: expected a type of GGUF, found ${type}`);
    const element = this.u32(key);
    const count = this.values(key, SCALARS[element]?.bytes ?? 8);
    return Array.from({ length: count }, () => this.value(element, key, depth + 1));
  }

  #grow(end: number): void {
    const length = Math.min(this.#end, Math.max(end, 2 * this.#buffer.length, CHUNK));
    const more = readBytes(this.file, this.#handle, this.#buffer.length, length - this.#buffer.length);
    this.#buffer = Buffer.concat([this.#buffer, more]);
  }
}

const STRING = 8;
const ARRAY = 9;
/** By number: uint8, int8, uint16, int16, uint32, int32, float32, bool; then uint64, int64, float64. */
const SCALARS: Readonly<Record<number, { bytes: number; read: (from: Buffer) => unknown }>> = {
  0: { bytes: 1, read: (from) => from.readUInt8() },
  1: { bytes: 1, read: (from) => from.readInt8() },
  2: { bytes: 2, read: (from) => from.readUInt16LE() },
  3: { bytes: 2, read: (from) => from.readInt16LE() },
  4: { bytes: 4, read: (from) => from.readUInt32LE() },
  5: { bytes: 4, read: (from) => from.readInt32LE() },
  6: { bytes: 4, read: (from) => shortest(from.readFloatLE()) },
  7: { bytes: 1, read: (from) => from.readUInt8() !== 0 },
  10: { bytes: 8, read: (from) => from.readBigUInt64LE() },
  11: { bytes: 8, read: (from) => from.readBigInt64LE() },
  12: { bytes: 8, read: (from) => from.readDoubleLE() },
};

/** The shortest decimal that rounds to the same float: 1e-5, as config.json has it, not 9.999999747378752e-6. */
function shortest(float: number): number {
  for (let digits = 1; digits < 9; ++digits) {
    const value = Number(float.toPrecision(digits));
    if (Math.fround(value) === float) return value;
  }
  return float;
}

function fail(file: string, message: string): never {
  throw new TinyLoraError("ERR_MODEL", `${file}: ${message}`);
}
