// Writes GGUF headers value by value, so that tests can make wrong ones.

export type Value =
  | { u32: number }
  | { u64: bigint }
  | { f32: number }
  | { bool: boolean }
  | { text: string }
  | { texts: string[] }
  | { u32s: number[] }
  | { u64s: bigint[] }
  | { bytes: Uint8Array }
  | { f32s: number[] };
export interface Tensor {
  readonly name: string;
  /** Innermost first. */
  readonly dimensions: readonly (number | bigint)[];
  readonly type: number;
  readonly offset: number | bigint;
}
export interface Gguf {
  readonly version?: number;
  readonly metadata: Readonly<Record<string, Value>>;
  readonly tensors: readonly Tensor[];
  /** Bytes of data after the header. */
  readonly data: number;
}

export function gguf({ version = 3, metadata, tensors, data }: Gguf): Buffer {
  const entries = Object.entries(metadata);
  const header = Buffer.concat([
    Buffer.from("GGUF"),
    u32(version),
    u64(tensors.length),
    u64(entries.length),
    ...entries.flatMap(([key, value]) => [text(key), typed(value)]),
    ...tensors.flatMap(({ name, dimensions, type, offset }) => [
      text(name),
      u32(dimensions.length),
      ...dimensions.map(u64),
      u32(type),
      u64(offset),
    ]),
  ]);
  return Buffer.concat([header, Buffer.alloc(((32 - (header.length % 32)) % 32) + data)]);
}

function typed(value: Value): Buffer {
  if ("u32" in value) return Buffer.concat([u32(4), u32(value.u32)]);
  if ("u64" in value) return Buffer.concat([u32(10), u64(value.u64)]);
  if ("f32" in value) return Buffer.concat([u32(6), f32(value.f32)]);
  if ("bool" in value) return Buffer.concat([u32(7), Buffer.of(value.bool ? 1 : 0)]);
  if ("text" in value) return Buffer.concat([u32(8), text(value.text)]);
  if ("texts" in value) return list(8, value.texts.map(text));
  if ("u32s" in value) return list(4, value.u32s.map(u32));
  if ("u64s" in value) return list(10, value.u64s.map(u64));
  if ("bytes" in value) return Buffer.concat([u32(9), u32(0), u64(value.bytes.length), value.bytes]);
  return list(6, value.f32s.map(f32));
}

function list(type: number, items: Buffer[]): Buffer {
  return Buffer.concat([u32(9), u32(type), u64(items.length), ...items]);
}
function u32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value);
  return bytes;
}
function u64(value: number | bigint): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(BigInt(value));
  return bytes;
}
function f32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeFloatLE(value);
  return bytes;
}
function text(value: string): Buffer {
  return Buffer.concat([u64(Buffer.byteLength(value)), Buffer.from(value)]);
}
