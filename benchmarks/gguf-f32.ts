/** The numbers of a GGUF file in fp32, so that another program can be compared without its quantised products. */
import { createWriteStream, readFileSync } from "node:fs";
import { finished } from "node:stream/promises";
import { pad, padded, text, u32, u64 } from "../lib/export/gguf-bytes.js";
import { type GgufTensor, readGgufHeader } from "../lib/model/gguf-header.js";
import { tensorSource } from "../lib/model/gguf-tensors.js";

const BLOCK = 32; // numbers

/** Formats of the shared model; d, m and the values as native/engine/dequantize.cpp has them, each step rounded. */
const WIDEN: Readonly<Record<string, (block: DataView) => Float32Array>> = {
  Q4_1: (block) => {
    const [d, m] = [half(block, 0), half(block, 2)];
    return Float32Array.from({ length: BLOCK }, (_, i) => {
      const byte = block.getUint8(4 + (i % 16));
      return Math.fround(d * (i < 16 ? byte & 15 : byte >> 4)) + m;
    });
  },
  Q8_0: (block) => {
    const d = half(block, 0);
    return Float32Array.from({ length: BLOCK }, (_, i) => d * block.getInt8(2 + i));
  },
};

/** Writes `target` with the metadata of `source`. */
export async function writeGgufF32(source: string, target: string): Promise<void> {
  const header = readGgufHeader(source);
  const bytes = readFileSync(source);
  const first = header.tensors[0]!;
  const metadata = bytes.subarray(0, bytes.indexOf(text(first.name)));
  const file = createWriteStream(target);
  let offset = 0;
  const infos = header.tensors.map(({ name, dimensions }) => {
    const place = u64(offset);
    offset += padded(4 * dimensions.reduce((all, size) => all * size));
    return Buffer.concat([text(name), u32(dimensions.length), ...dimensions.map(u64), u32(0), place]);
  });
  file.write(pad(Buffer.concat([metadata, ...infos])));
  for (const tensor of header.tensors) {
    const { type, offset: start, bytes: length } = tensorSource(header, tensor, tensor.name);
    file.write(pad(widen(type, bytes.subarray(start, start + length), tensor)));
  }
  file.end();
  await finished(file);
}

function widen(type: string, bytes: Buffer, { name, dimensions }: GgufTensor): Buffer {
  if (type === "F32") return bytes;
  const read = WIDEN[type];
  if (!read) throw new Error(`${name}: expected F32, ${Object.keys(WIDEN).join(" or ")}, found ${type}`);
  const blocks = dimensions.reduce((all, size) => all * size) / BLOCK;
  const size = bytes.length / blocks;
  const values = new Float32Array(blocks * BLOCK);
  for (let i = 0; i < blocks; i++)
    values.set(read(new DataView(bytes.buffer, bytes.byteOffset + i * size, size)), i * BLOCK);
  return Buffer.from(values.buffer);
}

/** Exact, subnormals included. */
function half(view: DataView, at: number): number {
  const bits = view.getUint16(at, true);
  const [exponent, fraction] = [(bits >> 10) & 31, bits & 1023];
  const size = exponent === 0 ? fraction * 2 ** -24 : (1 + fraction / 1024) * 2 ** (exponent - 15);
  return bits & 0x8000 ? -size : size;
}
