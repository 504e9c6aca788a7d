import { createHash } from "node:crypto";
import { TinyLoraError } from "../error.js";
import { writeFileAtomic } from "../files.js";
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

/** A tensor of a file too large to be made whole: its numbers are asked for when their turn comes. */
export interface LargeTensor extends Omit<SmallTensor, "data"> {
  data(): Promise<Uint8Array>;
}

/** The same file, tensor by tensor. */
export async function writeSafetensors(
  path: string,
  tensors: ReadonlyMap<string, LargeTensor>,
  metadata: Record<string, string> = {},
): Promise<void> {
  await writeFileAtomic(path, async (file) => {
    const hash = createHash("sha256");
    const header = (sha256: string) => encodeHeader(tensors, { ...metadata, sha256 });
    await file.writeFile(header("0".repeat(64)));
    for (const [name, tensor] of tensors) {
      const data = await tensor.data();
      if (data.length !== bytesOf(tensor))
        throw new TinyLoraError("ERR_FILE", `${name}: expected ${bytesOf(tensor)} bytes, found ${data.length}`);
      hash.update(data);
      await file.writeFile(data);
    }
    const final = header(hash.digest("hex"));
    await file.write(final, 0, final.length, 0);
  });
}

function encodeHeader(
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

function bytesOf({ dtype, shape }: Omit<SmallTensor, "data">): number {
  return shape.reduce((product, size) => product * size, BYTES[dtype]);
}

/** `file` is for messages. Checks everything that it returns, the checksum too. */
export function decodeSafetensors(
  bytes: Uint8Array,
  file: string,
): { tensors: SmallTensors; metadata: Record<string, string> } {
  const damaged = (what: string) => new TinyLoraError("ERR_FILE", `${file}: ${what}`);
  if (bytes.length < 8) throw damaged(`expected a safetensors file, found ${bytes.length} bytes`);
  const view = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const length = Number(view.readBigUInt64LE(0));
  if (length > Math.min(LONGEST_HEADER, bytes.length - 8)) {
    throw damaged(`expected a safetensors header within the file's ${bytes.length} bytes, found a length of ${length}`);
  }
  const header = parseHeader(view.toString("utf8", 8, 8 + length));
  if (!header) throw damaged("the safetensors header is not a JSON object of tensors");
  const { __metadata__: metadata = {}, ...entries } = header;
  const body = bytes.subarray(8 + length);
  const tensors: SmallTensors = new Map();
  const hash = createHash("sha256");
  let next = 0;
  for (const [name, entry] of Object.entries(entries)) {
    const { dtype, shape, start, end } = parseEntry(entry) ?? {};
    if (!dtype || !shape || start !== next || end === undefined || end > body.length) {
      throw damaged(`tensor ${name}: expected a known dtype and bytes that follow the tensor before it`);
    }
    const expected = bytesOf({ dtype, shape });
    if (end - start !== expected) throw damaged(`tensor ${name}: expected ${expected} bytes, found ${end - start}`);
    const data = body.subarray(start, end);
    hash.update(data);
    tensors.set(name, { dtype, shape, data });
    next = end;
  }
  if (next !== body.length) throw damaged(`expected ${next} bytes of tensors, found ${body.length}`);
  const found = hash.digest("hex");
  if ((metadata as Record<string, string>).sha256 !== found)
    throw damaged("the checksum does not match: the file was damaged or edited");
  return { tensors, metadata: metadata as Record<string, string> };
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
