// Sentencepiece's BPE (Llama 2) as a tokenizer.json: merges come from the vocabulary and its scores.
import type { Fields } from "./fields.js";

const UNKNOWN = 2;
/** Characters to look at for all merges: the square of each token's length. Published vocabularies have some millions. */
const MOST_WORK = 2 ** 28;

/** Model, normalizer and decoder; added tokens and post-processor are the caller's. */
export function sentencepieceJson(fields: Fields, tokens: readonly string[]): Record<string, unknown> {
  const scores = fields.numbers("tokenizer.ggml.scores");
  if (scores.length !== tokens.length) fields.fail("tokenizer.ggml.scores", `${tokens.length} numbers, one a token`);
  const types = fields.has("tokenizer.ggml.token_type") ? fields.numbers("tokenizer.ggml.token_type") : [];
  const work = tokens.reduce((sum, { length }) => sum + length ** 2, 0);
  if (work > MOST_WORK) {
    fields.fail("tokenizer.ggml.tokens", `tokens whose squared lengths add up to ${MOST_WORK} at most, not to ${work}`);
  }
  const unknown = tokens[types.indexOf(UNKNOWN)] ?? "<unk>";
  const spaces = { type: "Replace", pattern: { String: " " }, content: "▁" };
  const prefixed = fields.flag("tokenizer.ggml.add_space_prefix", true);
  const prefix = prefixed ? [{ type: "Prepend", prepend: "▁" }] : [];
  const strip = prefixed ? [{ type: "Strip", content: " ", start: 1, stop: 0 }] : [];
  const words = { type: "Replace", pattern: { String: "▁" }, content: " " };
  return {
    normalizer: { type: "Sequence", normalizers: [...prefix, spaces] },
    pre_tokenizer: null,
    decoder: { type: "Sequence", decoders: [words, { type: "ByteFallback" }, { type: "Fuse" }, ...strip] },
    model: {
      type: "BPE",
      byte_fallback: true,
      fuse_unk: true,
      unk_token: unknown,
      vocab: Object.fromEntries(tokens.map((token, id) => [token, id])),
      merges: merges(tokens, scores),
    },
  };
}

/** Every way to make a token of two, best score first: sentencepiece merges the pair whose result scores best. */
function merges(tokens: readonly string[], scores: readonly number[]): string[][] {
  const ids = new Map(tokens.map((token, id) => [token, id]));
  const found = tokens.flatMap((token, id) => {
    const characters = [...token];
    return characters.slice(1).flatMap((_, i) => {
      const left = characters.slice(0, i + 1).join("");
      const right = characters.slice(i + 1).join("");
      const pair = [ids.get(left), ids.get(right)] as const;
      return pair[0] === undefined || pair[1] === undefined
        ? []
        : [{ id, left, right, pair: pair as [number, number] }];
    });
  });
  found.sort((a, b) => scores[b.id]! - scores[a.id]! || a.pair[0] - b.pair[0] || a.pair[1] - b.pair[1]);
  return found.map(({ left, right }) => [left, right]);
}
