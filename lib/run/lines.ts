import { type FileHandle, open } from "node:fs/promises";
import { TinyLoraError } from "../error.js";
import { reading, readingIfThere, writeFileAtomic } from "../files.js";

const LINE_BREAK = 10;
/** Bytes of a line. */
const LONGEST = 2 ** 26;

/**
 * Whole lines of a file that grows with a run, one at a time: all of it may be longer than the longest string. What
 * follows the last line break is being written, or was cut off. None where there is no file.
 */
export async function* wholeLines(path: string): AsyncGenerator<string> {
  const file = await readingIfThere<FileHandle | null>(path, () => open(path), null);
  if (file === null) return;
  const chunk = Buffer.alloc(2 ** 20);
  let begun: Buffer[] = [];
  let length = 0;
  try {
    for (;;) {
      const { bytesRead } = await reading(path, () => file.read(chunk, 0, chunk.length, null));
      if (bytesRead === 0) return;
      const bytes = chunk.subarray(0, bytesRead);
      let start = 0;
      length += bytesRead;
      if (length > LONGEST && !bytes.includes(LINE_BREAK)) {
        throw new TinyLoraError("ERR_FILE", `${path}: expected lines of at most ${LONGEST} bytes, found a longer one`);
      }
      for (let end = bytes.indexOf(LINE_BREAK); end >= 0; end = bytes.indexOf(LINE_BREAK, start)) {
        yield Buffer.concat([...begun, bytes.subarray(start, end)]).toString("utf8");
        begun = [];
        length = bytesRead - end;
        start = end + 1;
      }
      if (start < bytesRead) begun.push(Buffer.from(bytes.subarray(start)));
    }
  } finally {
    await file.close();
  }
}

/** Letters that are written at once. */
const AT_ONCE = 2 ** 20;

/** A file of JSON lines, whole or not at all. Together they may be longer than the longest string. */
export function writeLines(path: string, lines: Iterable<object>): Promise<void> {
  return writeFileAtomic(path, async (file) => {
    let text = "";
    for (const line of lines) {
      text += `${JSON.stringify(line)}\n`;
      if (text.length < AT_ONCE) continue;
      await file.writeFile(text);
      text = "";
    }
    await file.writeFile(text);
  });
}
