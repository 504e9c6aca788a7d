import { createHash } from "node:crypto";
import type { FileHandle } from "node:fs/promises";
import { TinyLoraError } from "../error.js";
import { readBytesAt, writeFileAtomic } from "../files.js";
import { bytesOf, checkHash, decodeHeader, encodeHeader, headerLength, type SmallTensor } from "./safetensors.js";

/** A tensor of a file too large to be held whole: its numbers are asked for when their turn comes. */
export interface LargeTensor extends Omit<SmallTensor, "data"> {
  data(): Promise<Uint8Array>;
}

/** The file that encodeSafetensors makes, tensor by tensor. */
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
      for (const piece of pieces(data.length)) {
        const bytes = data.subarray(piece.start, piece.end);
        hash.update(bytes);
        await file.writeFile(bytes);
      }
    }
    const final = header(hash.digest("hex"));
    await file.write(final, 0, final.length, 0);
  });
}

/**
 * The tensors of an open file; `name` is for messages. Everything is checked before it returns, the checksum too, and the
 * numbers are read when they are asked for.
 */
export async function readSafetensors(
  file: FileHandle,
  name: string,
): Promise<{ tensors: ReadonlyMap<string, LargeTensor>; metadata: Record<string, string> }> {
  const { size } = await file.stat();
  const read = (offset: number, bytes: number) => readBytesAt(file, name, offset, bytes);
  const start = 8 + headerLength(await read(0, Math.min(8, size)), size, name);
  const { places, metadata } = decodeHeader(await read(8, start - 8), size - start, name);
  const hash = createHash("sha256");
  for (const piece of pieces(size - start)) hash.update(await read(start + piece.start, piece.end - piece.start));
  checkHash(hash, metadata, name);
  const tensors = [...places].map(([key, { dtype, shape, offset }]) => {
    const data = () => read(start + offset, bytesOf({ dtype, shape }));
    return [key, { dtype, shape, data }] as const;
  });
  return { tensors: new Map(tensors), metadata };
}

/** Far below 2^31 bytes, the most that a hash takes at once. */
const PIECE = 2 ** 26;

/** Ranges of at most `piece` bytes that cover `size` bytes. */
export function* pieces(size: number, piece = PIECE): Generator<{ start: number; end: number }> {
  for (let start = 0; start < size; start += piece) yield { start, end: Math.min(size, start + piece) };
}
