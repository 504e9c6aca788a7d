// Makes small model files, right or wrong, in a temporary folder.
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect } from "vitest";
import { TinyLoraError } from "../../../lib/error.js";

const folders: string[] = [];
afterAll(() => {
  for (const folder of folders) rmSync(folder, { recursive: true });
});

/** Is there until the end of the test file. */
export function temporaryFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), "tinylora-model-"));
  folders.push(folder);
  return folder;
}

export function write(folder: string, name: string, content: string | Uint8Array | object): string {
  const file = join(folder, name);
  const plain = typeof content === "string" || content instanceof Uint8Array;
  writeFileSync(file, plain ? content : JSON.stringify(content));
  return file;
}

/** A safetensors file with this header, as text or object, and so many bytes of data. */
export function safetensors(header: string | object, data: number): Buffer {
  const text = Buffer.from(typeof header === "string" ? header : JSON.stringify(header));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(text.length));
  return Buffer.concat([length, text, Buffer.alloc(data)]);
}

/** One line, with the code, and every one of the parts. */
export async function expectError(run: () => unknown, code: string, ...parts: string[]): Promise<void> {
  const error = await (async () => run())().then(
    () => expect.fail("expected an error"),
    (caught: unknown) => caught,
  );
  expect(error).toBeInstanceOf(TinyLoraError);
  const { code: found, message } = error as TinyLoraError;
  expect(message).not.toContain("\n");
  for (const part of parts) expect(message).toContain(part);
  expect(found).toBe(code);
}
