import { createHash, type Hash } from "node:crypto";
import { TinyLoraError } from "../error.js";
import { isObject } from "../is-object.js";

/** The small safetensors files of this package: fp32 (and v's 2-byte types), read and written whole. */
export interface SmallTensor {
  readonly dtype: "F32" | "BF16" | "F16";
  readonly shape: readonly number[];
  /** Little-endian. */
  readonly data: Uint8Array;
}

export type SmallTensors = Map<string, SmallTensor>;

const BYTES = { F32: 4, BF16: 2, F16: 2 } as const;
const LONGEST_HEADER = 16 * 1024 * 1024;

export function floatTensor(values: Float32Array, shape: readonly number[]): SmallTensor {
  return { dtype: "F32", shape, data: new Uint8Array(values.buffer, values.byteOffset, values.byteLength) };
}

/** A copy: the bytes may lie anywhere in a larger buffer. */
export function tensorFloats(tensor: SmallTensor): Float32Array {
  return new Float32Array(new Uint8Array(tensor.data).buffer);
}

/** The checksum of all tensor bytes goes into the metadata as `sha256`. */
export function encodeSafetensors(tensors: SmallTensors, metadata: Record<string, string> = {}): Uint8Array {
  const hash = createHash("sha256");
  for (const { data } of tensors.values()) hash.update(data);
  const header = encodeHeader(tensors, { ...metadata, sha256: hash.digest("hex") });
  return Buffer.concat([header, ...[...tensors.values()].map(({ data }) => data)]);
}

/** What comes before the bytes of the tensors. */
export function encodeHeader(
  tensors: ReadonlyMap<string, Omit<SmallTensor, "data">>,
  metadata: Record<string, string>,
): Buffer {
  const entries: Record<string, unknown> = { __metadata__: metadata };
  let offset = 0;
  for (const [name, { dtype, shape }] of tensors) {
    const end = offset + bytesOf({ dtype, shape });
    entries[name] = { dtype, shape, data_offsets: [offset, end] };
    offset = end;
  }
  const json = Buffer.from(JSON.stringify(entries));
  const header = Buffer.alloc(8 + Math.ceil(json.length / 8) * 8, " ");
  header.writeBigUInt64LE(BigInt(header.length - 8));
  json.copy(header, 8);
  return header;
}

export function bytesOf({ dtype, shape }: Omit<SmallTensor, "data">): number {
  return shape.reduce((product, size) => product * size, BYTES[dtype]);
}

/** `file` is for messages. Checks everything that it returns, the checksum too. */
export function decodeSafetensors(
  bytes: Uint8Array,
  file: string,
): { tensors: SmallTensors; metadata: Record<string, string> } {
  const start = 8 + headerLength(bytes.subarray(0, 8), bytes.length, file);
  const { places, metadata } = decodeHeader(bytes.subarray(8, start), bytes.length - start, file);
  const tensors: SmallTensors = new Map();
  const hash = createHash("sha256");
  for (const [name, { dtype, shape, offset }] of places) {
    const data = bytes.subarray(start + offset, start + offset + bytesOf({ dtype, shape }));
    hash.update(data);
    tensors.set(name, { dtype, shape, data });
  }
  checkHash(hash, metadata, file);
  return { tensors, metadata };
}

/** Bytes of the header behind the file's first eight, of a file of `size` bytes. */
export function headerLength(first: Uint8Array, size: number, file: string): number {
  if (size < 8) throw damaged(file, `expected a safetensors file, found ${size} bytes`);
  const length = Number(Buffer.from(first.buffer, first.byteOffset, first.byteLength).readBigUInt64LE(0));
  if (length > Math.min(LONGEST_HEADER, size - 8)) {
    throw damaged(file, `expected a safetensors header within the file's ${size} bytes, found a length of ${length}`);
  }
  return length;
}

/** A tensor of a file; `offset` is that of its bytes behind the header. */
export interface Place extends Omit<SmallTensor, "data"> {
  readonly offset: number;
}

/** `size`: bytes behind the header, which the tensors cover one after another. */
export function decodeHeader(
  json: Uint8Array,
  size: number,
  file: string,
): { places: Map<string, Place>; metadata: Record<string, string> } {
  const header = parseHeader(Buffer.from(json.buffer, json.byteOffset, json.byteLength).toString("utf8"));
  if (!header) throw damaged(file, "the safetensors header is not a JSON object of tensors");
  const { __metadata__: metadata = {}, ...entries } = header;
  const places = new Map<string, Place>();
  let next = 0;
  for (const [name, entry] of Object.entries(entries)) {
    const { dtype, shape, start, end } = parseEntry(entry) ?? {};
    if (!dtype || !shape || start !== next || end === undefined || end > size) {
      throw damaged(file, `tensor ${name}: expected a known dtype and bytes that follow the tensor before it`);
    }
    const expected = bytesOf({ dtype, shape });
    if (end - start !== expected)
      throw damaged(file, `tensor ${name}: expected ${expected} bytes, found ${end - start}`);
    places.set(name, { dtype, shape, offset: start });
    next = end;
  }
  if (next !== size) throw damaged(file, `expected ${next} bytes of tensors, found ${size}`);
  return { places, metadata: metadata as Record<string, string> };
}

/** `hash`: of the bytes of all tensors. */
export function checkHash(hash: Hash, metadata: Record<string, string>, file: string): void {
  if (metadata.sha256 !== hash.digest("hex"))
    throw damaged(file, "the checksum does not match: the file was damaged or edited");
}

function damaged(file: string, what: string): TinyLoraError {
  return new TinyLoraError("ERR_FILE", `${file}: ${what}`);
}

function parseHeader(text: string): Record<string, unknown> | undefined {
  try {
    const header: unknown = JSON.parse(text);
    return isObject(header) && isObject(header.__metadata__ ?? {}) ? header : undefined;
  } catch {
    return undefined;
  }
}

function parseEntry(
  entry: unknown,
): { dtype: keyof typeof BYTES; shape: number[]; start: number; end: number } | undefined {
  if (!isObject(entry)) return undefined;
  const { dtype, shape, data_offsets: offsets } = entry;
  if (!(typeof dtype === "string" && Object.hasOwn(BYTES, dtype)) || !isSizes(shape) || !isSizes(offsets))
    return undefined;
  const [start, end] = offsets;
  if (start === undefined || end === undefined || end < start) return undefined;
  return { dtype: dtype as keyof typeof BYTES, shape, start, end };
}

function isSizes(value: unknown): value is number[] {
  return Array.isArray(value) && value.every((size) => Number.isSafeInteger(size) && size >= 0);
}
