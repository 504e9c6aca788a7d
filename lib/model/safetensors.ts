// The header of a .safetensors file, read strictly: what this accepts, the weights can be mapped as it says.
import { TinyLoraError } from "../error.js";
import { isObject } from "../is-object.js";
import type { TensorSource } from "../native/model-source.js";
import { show } from "../show.js";
import { parseJsonObject, readBytes, withFile } from "./files.js";

/** The limit of the format's own reader. */
const LONGEST_HEADER = 100_000_000;
const BYTES = { F32: 4, F16: 2, BF16: 2 } as const;

/** Tensors of one file. Together they cover its data exactly: no overlap, no hole, nothing beyond the end. */
export function readSafetensors(file: string): TensorSource[] {
  return withFile(file, (handle, size) => {
    if (size < 8) fail(file, `expected at least 8 bytes, found ${size}`);
    const length = readBytes(file, handle, 0, 8).readBigUInt64LE();
    const longest = Math.min(LONGEST_HEADER, size - 8);
    if (length > BigInt(longest)) fail(file, `header length: expected at most ${longest} bytes, found ${length}`);
    const header = readBytes(file, handle, 8, Number(length)).toString("utf8");
    const data = 8 + Number(length);
    const entries = Object.entries(parseJsonObject(`${file}: header`, header));
    const tensors = entries
      .filter(([name]) => name !== "__metadata__")
      .map(([name, entry]) => tensorSource(file, data, size, name, entry));
    checkDuplicates(file, header, tensors.length);
    checkCover(file, tensors, data, size);
    return tensors;
  });
}

function tensorSource(file: string, data: number, size: number, name: string, entry: unknown): TensorSource {
  const place = `tensor ${name}`;
  if (!isObject(entry)) fail(file, `${place}: expected an object, found ${show(entry)}`);
  const { dtype, shape, data_offsets: offsets } = entry;
  if (typeof dtype !== "string" || !Object.hasOwn(BYTES, dtype)) {
    fail(file, `${place}: dtype: expected F32, F16 or BF16, found ${show(dtype)}`);
  }
  const type = dtype as keyof typeof BYTES;
  if (!isCounts(shape)) fail(file, `${place}: shape: expected whole numbers, found ${show(shape)}`);
  if (!isCounts(offsets) || offsets.length !== 2 || offsets[0]! > offsets[1]! || offsets[1]! > size - data) {
    fail(file, `${place}: data_offsets: expected begin <= end <= ${size - data}, found ${show(offsets)}`);
  }
  const [begin, end] = offsets as [number, number];
  const bytes = shape.reduce((product, dimension) => product * dimension, BYTES[type]);
  if (bytes !== end - begin) {
    fail(file, `${place}: expected ${bytes} bytes of ${type} for shape ${show(shape)}, found ${end - begin}`);
  }
  return { name, file, offset: data + begin, bytes, type, shape };
}

function isCounts(value: unknown): value is number[] {
  return Array.isArray(value) && value.every((item) => Number.isSafeInteger(item) && item >= 0);
}

/** JSON.parse keeps the last of equal keys in silence; each tensor has one data_offsets key, so counting shows it. */
function checkDuplicates(file: string, header: string, tensors: number): void {
  const found = header.match(/"data_offsets"\s*:/g)?.length ?? 0;
  if (found !== tensors) fail(file, `header: expected each tensor once, found ${found} entries for ${tensors} names`);
}

function checkCover(file: string, tensors: readonly TensorSource[], data: number, size: number): void {
  let end = data;
  for (const tensor of [...tensors].sort((a, b) => a.offset - b.offset || a.bytes - b.bytes)) {
    if (tensor.offset !== end) {
      const what = tensor.offset < end ? "overlaps the tensor before it" : "leaves a hole before it";
      fail(file, `tensor ${tensor.name}: expected to begin at byte ${end}, found ${tensor.offset}: it ${what}`);
    }
    end += tensor.bytes;
  }
  if (end !== size) fail(file, `expected the tensors to end at the file's end, ${size}, found ${end}`);
}

function fail(file: string, message: string): never {
  throw new TinyLoraError("ERR_MODEL", `${file}: ${message}`);
}
