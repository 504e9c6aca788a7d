// Which bytes each token stands for: the inverse of byte-level BPE's alphabet, or sentencepiece's conventions.
import { TinyLoraError } from "../error.js";
import { isObject } from "../is-object.js";
import type { TokenizerSource } from "./tokenizer.js";

export interface TokenBytes {
  readonly bytes: Uint8Array;
  /** [vocab + 1] */
  readonly offsets: Uint32Array;
}

/** What is asked of @huggingface/tokenizers' Tokenizer. Its own types would not resolve under `nodenext`. */
interface Vocabulary {
  get_vocab(): Iterable<[string | undefined, number]>;
}

export function tokenBytes(source: TokenizerSource, pipeline: Vocabulary, byteLevel: boolean): TokenBytes {
  const read = byteLevel ? byteLevelBytes : sentencepieceBytes;
  const tokens = new Array<Uint8Array>(source.vocab).fill(new Uint8Array(0));
  for (const [text, id] of pipeline.get_vocab()) {
    if (typeof text !== "string") continue; // an id without token
    if (id >= source.vocab) {
      const { place, vocab } = source;
      throw new TinyLoraError(
        "ERR_MODEL",
        `${place}: token ${JSON.stringify(text)}: expected an id below ${vocab}, found ${id}`,
      );
    }
    tokens[id] = read(text);
  }
  const offsets = new Uint32Array(source.vocab + 1);
  for (const [id, token] of tokens.entries()) offsets[id + 1] = offsets[id]! + token.length;
  const bytes = new Uint8Array(offsets[source.vocab]!);
  for (const [id, token] of tokens.entries()) bytes.set(token, offsets[id]!);
  return { bytes, offsets };
}

/** Whether the pipeline works on bytes written as printable characters. */
export function isByteLevel(json: Record<string, unknown>): boolean {
  return JSON.stringify([json.pre_tokenizer, json.decoder]).includes('"ByteLevel"');
}

/** Whether a space at the very beginning is the tokenizer's, not the text's: where encoding puts one there. */
export function dropsSpace({ decoder }: Record<string, unknown>): boolean {
  if (!isObject(decoder)) return false;
  if (Array.isArray(decoder.decoders)) return decoder.decoders.some((step) => dropsSpace({ decoder: step }));
  if (decoder.type === "Strip") return decoder.content === " " && decoder.start !== 0;
  return decoder.type === "Metaspace" && decoder.prepend_scheme !== "never" && decoder.add_prefix_space !== false;
}

function byteLevelBytes(text: string): Uint8Array {
  const bytes: number[] = [];
  for (const character of text) {
    const byte = ALPHABET.get(character);
    // Not of the alphabet: an added text, which stands for itself.
    if (byte === undefined) return Buffer.from(text, "utf8");
    bytes.push(byte);
  }
  return Uint8Array.from(bytes);
}

function sentencepieceBytes(text: string): Uint8Array {
  const byte = /^<0x([0-9A-F]{2})>$/.exec(text);
  return byte ? Uint8Array.of(Number.parseInt(byte[1]!, 16)) : Buffer.from(text.replaceAll("▁", " "), "utf8");
}

/** GPT-2's alphabet: printable bytes stand for themselves, the others for U+0100, U+0101, ... in their order. */
const ALPHABET: ReadonlyMap<string, number> = (() => {
  const printable = (byte: number) => (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 255 && byte !== 173);
  const alphabet = new Map<string, number>();
  let others = 0;
  for (let byte = 0; byte < 256; ++byte) {
    alphabet.set(String.fromCharCode(printable(byte) ? byte : 256 + others++), byte);
  }
  return alphabet;
})();
