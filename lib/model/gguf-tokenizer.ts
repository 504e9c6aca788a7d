// tokenizer.json made again from GGUF metadata, for the tokenizers whose published pipelines are known here.
import { Fields, lookup } from "./fields.js";
import type { GgufHeader } from "./gguf-header.js";
import { sentencepieceJson } from "./gguf-sentencepiece.js";
import { split } from "./pipeline.js";
import type { TokenizerSource } from "./tokenizer.js";

/** tokenizer.ggml.token_type */
const UNKNOWN = 2;
const CONTROL = 3;
const USER_DEFINED = 4;

const byteLevel = (useRegex: boolean) => ({
  type: "ByteLevel",
  add_prefix_space: false,
  trim_offsets: true,
  use_regex: useRegex,
});
const WORDS =
  "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";

interface PreTokenizer {
  readonly normalizer: unknown;
  readonly steps: readonly unknown[];
  /** A word that is a token as a whole is not merged step by step. */
  readonly ignoreMerges: boolean;
  readonly addsBos: boolean;
}
const gpt2: PreTokenizer = { normalizer: null, steps: [byteLevel(true)], ignoreMerges: false, addsBos: false };
/** One digit a token, then GPT-2's words. */
const smollm: PreTokenizer = { ...gpt2, steps: [{ type: "Digits", individual_digits: true }, byteLevel(true)] };
const llama3: PreTokenizer = {
  normalizer: null,
  steps: [split(WORDS), byteLevel(false)],
  ignoreMerges: true,
  addsBos: true,
};
const qwen2: PreTokenizer = {
  normalizer: { type: "NFC" },
  steps: [split(WORDS.replace("{1,3}", "")), byteLevel(false)],
  ignoreMerges: false,
  addsBos: false,
};
/** tokenizer.ggml.pre -> pipeline. */
const PRE_TOKENIZERS: Readonly<Record<string, PreTokenizer>> = {
  "gpt-2": gpt2,
  smollm,
  "llama-bpe": llama3,
  llama3,
  "llama-v3": llama3,
  qwen2,
  "deepseek-r1-qwen": qwen2,
};

export function ggufTokenizerSource(header: GgufHeader): TokenizerSource {
  const fields = new Fields(header.file, header.metadata);
  const tokens = fields.texts("tokenizer.ggml.tokens");
  const id = (name: string) => fields.tokenId(`tokenizer.ggml.${name}_token_id`);
  const text = (name: string) => {
    const found = id(name);
    if (found !== undefined && found >= tokens.length)
      fields.fail(`tokenizer.ggml.${name}_token_id`, `an id below ${tokens.length}`);
    return found === undefined ? undefined : tokens[found];
  };
  const special = { bos: text("bos"), eos: text("eos"), unk: text("unknown"), pad: text("padding") };
  return {
    place: header.file,
    json: tokenizerJson(fields, tokens, special.bos, special.eos),
    vocab: tokens.length,
    bos: special.bos,
    eos: special.eos,
    stopTokens: [id("eos"), id("eot"), id("eom")].filter((stop) => stop !== undefined),
    chatTemplate: fields.has("tokenizer.chat_template") ? fields.text("tokenizer.chat_template") : undefined,
    specialTokens: Object.fromEntries(
      Object.entries(special).flatMap(([name, token]) => (token === undefined ? [] : [[`${name}_token`, token]])),
    ),
  };
}

function tokenizerJson(fields: Fields, tokens: readonly string[], bos?: string, eos?: string): Record<string, unknown> {
  const kind = fields.text("tokenizer.ggml.model");
  const types = fields.has("tokenizer.ggml.token_type") ? fields.numbers("tokenizer.ggml.token_type") : [];
  const added = addedTokens(tokens, types);
  if (kind === "llama") {
    const frame = postProcessor(fields, tokens, true, bos, eos);
    return { ...sentencepieceJson(fields, tokens), added_tokens: added, post_processor: frame };
  }
  if (kind !== "gpt2") fields.fail("tokenizer.ggml.model", '"gpt2" or "llama"');
  const pre = lookup(PRE_TOKENIZERS, fields.text("tokenizer.ggml.pre"));
  if (!pre) fields.fail("tokenizer.ggml.pre", `one of ${Object.keys(PRE_TOKENIZERS).join(", ")}`);
  return {
    added_tokens: added,
    normalizer: pre.normalizer,
    pre_tokenizer: { type: "Sequence", pretokenizers: pre.steps },
    post_processor: postProcessor(fields, tokens, pre.addsBos, bos, eos),
    decoder: byteLevel(true),
    model: {
      type: "BPE",
      ignore_merges: pre.ignoreMerges,
      vocab: Object.fromEntries(tokens.map((token, i) => [token, i])),
      merges: fields.texts("tokenizer.ggml.merges").map((merge) => merge.split(" ")),
    },
  };
}

function addedTokens(tokens: readonly string[], types: readonly number[]): unknown[] {
  return tokens.flatMap((content, id) => {
    const special = types[id] === CONTROL || types[id] === UNKNOWN;
    if (!special && types[id] !== USER_DEFINED) return [];
    return [
      {
        id,
        content,
        special,
        normalized: false,
        lstrip: false,
        rstrip: false,
        single_word: false,
      },
    ];
  });
}

function postProcessor(
  fields: Fields,
  tokens: readonly string[],
  addsBos: boolean,
  bos?: string,
  eos?: string,
): unknown {
  const before = fields.flag("tokenizer.ggml.add_bos_token", addsBos) ? bos : undefined;
  const after = fields.flag("tokenizer.ggml.add_eos_token", false) ? eos : undefined;
  if (before === undefined && after === undefined) return null;
  const special = (token: string | undefined) =>
    token === undefined ? [] : [{ SpecialToken: { id: token, type_id: 0 } }];
  const used = [before, after].filter((token) => token !== undefined);
  return {
    type: "TemplateProcessing",
    single: [...special(before), { Sequence: { id: "A", type_id: 0 } }, ...special(after)],
    pair: [],
    special_tokens: Object.fromEntries(
      used.map((token) => [token, { id: token, ids: [tokens.indexOf(token)], tokens: [token] }]),
    ),
  };
}
