import { TinyLoraError } from "../error.js";
import type { GgufMetadata } from "./gguf.js";
import { ModelTokenizer } from "./tokenizer.js";

const LLAMA3 =
  "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";
const QWEN2 = LLAMA3.replace("\\p{N}{1,3}", "\\p{N}");
const byteLevel = (regex: boolean) => ({
  type: "ByteLevel",
  add_prefix_space: false,
  trim_offsets: true,
  use_regex: regex,
});
const split = (regex: string) => [
  { type: "Split", pattern: { Regex: regex }, behavior: "Isolated", invert: false },
  byteLevel(false),
];

/** How texts are cut before BPE, by llama.cpp's name; as the models' published tokenizer.json have it. */
const PRE_TOKENIZERS: Readonly<Record<string, { steps: object[]; normalizer?: object }>> = {
  smollm: { steps: [{ type: "Digits", individual_digits: true }, byteLevel(true)] },
  qwen2: { steps: split(QWEN2), normalizer: { type: "NFC" } },
  "llama-bpe": { steps: split(LLAMA3) },
};

/** ggml's kinds of tokens. */
const [CONTROL, USER_DEFINED] = [3, 4];

/** The tokenizer in a GGUF file's metadata, put into the form of tokenizer.json. */
export function ggufTokenizer(metadata: GgufMetadata, file: string): ModelTokenizer {
  const read = (key: string) => metadata[`tokenizer.ggml.${key}`];
  const list = <T>(key: string): T[] => {
    const value = read(key);
    if (Array.isArray(value)) return value as T[];
    throw new TinyLoraError("ERR_MODEL", `${file}: tokenizer.ggml.${key}: expected a list, found ${value}`);
  };
  const kind = `${read("model")} / ${read("pre")}`;
  const pre = PRE_TOKENIZERS[String(read("pre"))];
  if (read("model") !== "gpt2" || !pre) {
    const known = Object.keys(PRE_TOKENIZERS).map((name) => `gpt2 / ${name}`);
    throw new TinyLoraError(
      "ERR_MODEL",
      `${file}: tokenizer: expected one of ${known.join(", ")}, found ${kind}; the model's Hugging Face folder has its tokenizer.json`,
    );
  }
  const tokens = list<string>("tokens");
  const types = list<number>("token_type");
  const added = tokens.flatMap((content, id) => {
    const type = Number(types[id]);
    if (type !== CONTROL && type !== USER_DEFINED) return [];
    const flags = { single_word: false, lstrip: false, rstrip: false, normalized: false };
    return [{ id, content, special: type === CONTROL, ...flags }];
  });
  const id = (key: string) => (read(key) === undefined ? undefined : Number(read(key)));
  const text = (key: string) => tokens[id(key) ?? -1];
  const stops = [
    id("eos_token_id"),
    id("eot_token_id"),
    ...["<|im_end|>", "<|endoftext|>", "<|eot_id|>"].map((stop) => added.find(({ content }) => content === stop)?.id),
  ];
  const template = metadata["tokenizer.chat_template"];
  return new ModelTokenizer({
    json: {
      version: "1.0",
      truncation: null,
      padding: null,
      added_tokens: added,
      normalizer: pre.normalizer ?? null,
      pre_tokenizer: { type: "Sequence", pretokenizers: pre.steps },
      post_processor: null,
      decoder: byteLevel(true),
      model: {
        type: "BPE",
        dropout: null,
        unk_token: null,
        fuse_unk: false,
        byte_fallback: false,
        ignore_merges: read("pre") === "llama-bpe",
        vocab: Object.fromEntries(tokens.map((token, place) => [token, place])),
        merges: list<string>("merges"),
      },
    } as ConstructorParameters<typeof ModelTokenizer>[0]["json"],
    config: { bos_token: text("bos_token_id"), eos_token: text("eos_token_id"), clean_up_tokenization_spaces: false },
    bos: read("add_bos_token") === true ? id("bos_token_id") : undefined,
    stopTokens: stops.filter((stop) => stop !== undefined),
    chatTemplate: typeof template === "string" ? template : undefined,
    file,
  });
}
