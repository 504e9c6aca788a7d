import { type FileHandle, open } from "node:fs/promises";
import { reading, readingIfThere } from "../files.js";

const LINE_BREAK = 10;

/**
 * Whole lines of a file that grows with a run, one at a time: all of it may be longer than the longest string. What
 * follows the last line break is being written, or was cut off. None where there is no file.
 */
export async function* wholeLines(path: string): AsyncGenerator<string> {
  const file = await readingIfThere<FileHandle | null>(path, () => open(path), null);
  if (file === null) return;
  const chunk = Buffer.alloc(2 ** 20);
  let begun: Buffer[] = [];
  try {
    for (;;) {
      const { bytesRead } = await reading(path, () => file.read(chunk, 0, chunk.length, null));
      if (bytesRead === 0) return;
      const bytes = chunk.subarray(0, bytesRead);
      let start = 0;
      for (let end = bytes.indexOf(LINE_BREAK); end >= 0; end = bytes.indexOf(LINE_BREAK, start)) {
        yield Buffer.concat([...begun, bytes.subarray(start, end)]).toString("utf8");
        begun = [];
        start = end + 1;
      }
      if (start < bytesRead) begun.push(Buffer.from(bytes.subarray(start)));
    }
  } finally {
    await file.close();
  }
}
