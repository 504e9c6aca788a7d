/**
 * A byte-level BPE tokenizer of Qwen2's form, learned from a few texts: the most frequent pair is merged until no pair
 * is left that occurs often (Sennrich et al. 2016). Digits stay single.
 */

/** Qwen2's pre-tokenizer. */
const WORDS = String.raw`(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`;
const SPLIT = /[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+/gu;
const SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"];

/** tokenizer.json for the texts, with at most `size` tokens. */
export function learnTokenizer(texts: readonly string[], size: number): { json: object; vocab: number } {
  const bytes = byteLetters();
  const words = new Map<string, number>();
  for (const text of texts) {
    for (const [word] of text.matchAll(SPLIT)) words.set(word, (words.get(word) ?? 0) + 1);
  }
  const pieces = [...words].map(([word, count]) => ({
    count,
    parts: [...Buffer.from(word)].map((byte) => bytes[byte]!),
  }));
  const vocab = [...SPECIAL, ...[...bytes].sort()];
  const merges: [string, string][] = [];
  while (vocab.length < size) {
    const best = mostFrequentPair(pieces);
    if (!best) break;
    merges.push(best);
    vocab.push(best.join(""));
    for (const piece of pieces) piece.parts = merged(piece.parts, best);
  }
  return { json: tokenizerJson(vocab, merges), vocab: vocab.length };
}

/** Ties go to the pair that comes first in the order of code points, so that every machine learns the same. */
function mostFrequentPair(pieces: readonly { count: number; parts: string[] }[]): [string, string] | undefined {
  const counts = new Map<string, number>();
  for (const { count, parts } of pieces) {
    for (let i = 0; i + 1 < parts.length; i++) {
      const pair = `${parts[i]} ${parts[i + 1]}`;
      counts.set(pair, (counts.get(pair) ?? 0) + count);
    }
  }
  let best: [string, number] | undefined;
  for (const [pair, count] of counts) {
    if (!best || count > best[1] || (count === best[1] && pair < best[0])) best = [pair, count];
  }
  return best && best[1] > 1 ? (best[0].split(" ") as [string, string]) : undefined;
}

function merged(parts: readonly string[], [left, right]: readonly [string, string]): string[] {
  const result: string[] = [];
  for (let i = 0; i < parts.length; i++) {
    if (parts[i] === left && parts[i + 1] === right) {
      result.push(left + right);
      i++;
    } else {
      result.push(parts[i]!);
    }
  }
  return result;
}

/** GPT-2's letter for each byte: printable ones stand for themselves. */
function byteLetters(): string[] {
  const printable = (byte: number) => (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
  let next = 256;
  return Array.from({ length: 256 }, (_, byte) => String.fromCodePoint(printable(byte) ? byte : next++));
}

function tokenizerJson(vocab: readonly string[], merges: readonly (readonly [string, string])[]): object {
  return {
    version: "1.0",
    truncation: null,
    padding: null,
    added_tokens: SPECIAL.map((content, id) => ({
      ...{ id, content, single_word: false, lstrip: false, rstrip: false, normalized: false, special: true },
    })),
    normalizer: { type: "NFC" },
    pre_tokenizer: {
      type: "Sequence",
      pretokenizers: [
        { type: "Split", pattern: { Regex: WORDS }, behavior: "Isolated", invert: false },
        { type: "ByteLevel", add_prefix_space: false, trim_offsets: true, use_regex: false },
      ],
    },
    post_processor: null,
    decoder: { type: "ByteLevel", add_prefix_space: true, trim_offsets: true, use_regex: true },
    model: {
      ...{ type: "BPE", dropout: null, unk_token: null, continuing_subword_prefix: null, end_of_word_suffix: null },
      ...{ fuse_unk: false, byte_fallback: false, ignore_merges: false },
      vocab: Object.fromEntries(vocab.map((token, id) => [token, id])),
      merges,
    },
  };
}
