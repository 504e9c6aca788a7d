import { TinyLoraError } from "../error.js";
import type { TokenBytes } from "./token-bytes.js";

/** Turns tokens into text as they come. Bytes of an unfinished character wait for the next token. */
export class StreamDecoder {
  readonly #tokens: TokenBytes;
  readonly #skip: ReadonlySet<number>;
  readonly #decoder = new TextDecoder("utf-8", { ignoreBOM: true });
  #dropSpace: boolean;

  /** `dropSpace`: one space at the very beginning is the tokenizer's, not the text's. */
  constructor(tokens: TokenBytes, skip: ReadonlySet<number>, dropSpace: boolean) {
    this.#tokens = tokens;
    this.#skip = skip;
    this.#dropSpace = dropSpace;
  }

  /** The whole characters that these tokens finish. ERR_ARGUMENT for an id that the model does not have. */
  push(ids: ArrayLike<number>): string {
    const { bytes, offsets } = this.#tokens;
    let text = "";
    for (let i = 0; i < ids.length; ++i) {
      const id = ids[i]!;
      if (!Number.isInteger(id) || id < 0 || id >= offsets.length - 1) {
        const most = offsets.length - 2;
        throw new TinyLoraError("ERR_ARGUMENT", `decode: expected ids from 0 to ${most}, found ${id}`);
      }
      if (this.#skip.has(id)) continue;
      text += this.#decoder.decode(bytes.subarray(offsets[id], offsets[id + 1]), { stream: true });
    }
    return this.#trimmed(text);
  }

  /** What is left at the end: U+FFFD for an unfinished character, else nothing. */
  end(): string {
    return this.#trimmed(this.#decoder.decode());
  }

  #trimmed(text: string): string {
    if (!this.#dropSpace || text === "") return text;
    this.#dropSpace = false;
    return text.startsWith(" ") ? text.slice(1) : text;
  }
}
