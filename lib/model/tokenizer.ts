import { Tokenizer as Pipeline } from "@huggingface/tokenizers";
import { TinyLoraError } from "../error.js";
import { isObject } from "../is-object.js";
import { withinTime } from "../within-time.js";
import { type ChatOptions, ChatTemplate, type Message } from "./chat-template.js";
import { checkTokenizer } from "./check-tokenizer.js";
import { firstLine } from "./files.js";
import { portablePipeline } from "./pipeline.js";
import { StreamDecoder } from "./stream-decoder.js";
import { dropsSpace, isByteLevel, type TokenBytes, tokenBytes } from "./token-bytes.js";

/** Tokens that end a turn or a text; a model stops at those of them that it has as special tokens. */
const ENDS = ["<|im_end|>", "<|eot_id|>", "<|eom_id|>", "<|end_of_text|>", "<|endoftext|>"];

/** Letters of a text: more than the contexts of today take. */
const LONGEST = 2 ** 20;
/**
 * Milliseconds that a text may take, and one more for 20 letters: they take 0.001 to 0.01 a letter. Nothing counts the
 * steps of a regular expression, and a file's may take for ever.
 */
const PATIENCE = 5000;

export interface TokenizerSource {
  /** The file that messages name. */
  readonly place: string;
  /** tokenizer.json, parsed. */
  readonly json: Record<string, unknown>;
  /** Rows of the embedding: ids are smaller. */
  readonly vocab: number;
  readonly bos?: string | undefined;
  readonly eos?: string | undefined;
  /** Ids that the model's own configuration names as ends. */
  readonly stopTokens: readonly number[];
  readonly chatTemplate?: string | undefined;
  /** bos_token, eos_token, ... as chat templates see them. */
  readonly specialTokens: Readonly<Record<string, string>>;
}

/** Text to token ids and back, as the model's published tokenizer does it. */
export class ModelTokenizer {
  /** Number of ids, those without a text included. */
  readonly vocab: number;
  readonly bos: number | undefined;
  readonly eos: number | undefined;
  /** Ids that end a completion, ascending. */
  readonly stopTokens: Int32Array;
  readonly #pipeline: Pipeline;
  readonly #template: ChatTemplate | undefined;
  readonly #bytes: TokenBytes;
  readonly #special: ReadonlySet<number>;
  /** Whether what has no token becomes bytes: the package does so in BPE, not in Unigram. */
  readonly #byteFallback: boolean;
  /** Whether decoding leaves out the space that encoding puts before every text. */
  readonly #spaceBefore: boolean;
  readonly #place: string;

  constructor(source: TokenizerSource) {
    this.#place = source.place;
    this.vocab = source.vocab;
    inPipeline(source.place, () => checkTokenizer(source));
    this.#pipeline = openPipeline(source);
    const added = [...this.#pipeline.get_added_tokens_decoder().values()];
    this.#special = new Set(added.filter((token) => token.special).map((token) => token.id));
    const byteLevel = inPipeline(source.place, () => isByteLevel(source.json));
    this.#bytes = tokenBytes(source, this.#pipeline, byteLevel);
    const { model } = source.json;
    this.#byteFallback = isObject(model) && model.type === "Unigram" && model.byte_fallback === true;
    this.#spaceBefore = inPipeline(source.place, () => dropsSpace(source.json));
    this.bos = this.#id(source.bos);
    this.eos = this.#id(source.eos);
    this.#template =
      source.chatTemplate === undefined
        ? undefined
        : new ChatTemplate(source.place, source.chatTemplate, source.specialTokens);
    const ends = ENDS.map((text) => this.#id(text) ?? -1).filter((id) => this.#special.has(id));
    const stops = [...source.stopTokens, this.eos ?? -1, ...ends].filter((id) => id >= 0 && id < this.vocab);
    this.stopTokens = Int32Array.from(new Set(stops)).sort();
  }

  /** With `addSpecialTokens` (the default) BOS comes first where the model's tokenizer adds one. */
  encode(text: string, { addSpecialTokens = true }: { readonly addSpecialTokens?: boolean } = {}): Int32Array {
    if (text.length > LONGEST) {
      throw new TinyLoraError("ERR_DATA", `text: expected at most ${LONGEST} letters, found ${text.length}`);
    }
    const patience = PATIENCE + Math.ceil(text.length / 20);
    const { ids, tokens } = inPipeline(this.#place, () =>
      withinTime(
        patience,
        () => this.#pipeline.encode(text, { add_special_tokens: addSpecialTokens }),
        () => new Error(`a text of ${text.length} letters not done after ${patience} ms`),
      ),
    );
    const found = this.#byteFallback
      ? (tokens as string[]).flatMap((token, i) => this.#inBytes(token) ?? [ids[i]])
      : ids;
    return Int32Array.from(found as (number | undefined)[], (id, i) => {
      if (id !== undefined && id < this.vocab) return id;
      const what = id === undefined ? "a text without token" : `token ${id}`;
      throw new TinyLoraError(
        "ERR_MODEL",
        `${this.#place}: place ${i}: expected ids below ${this.vocab}, found ${what}`,
      );
    });
  }

  /** Special tokens are left out unless asked for. Broken UTF-8 becomes U+FFFD. */
  decode(ids: ArrayLike<number>, { skipSpecialTokens = true }: { readonly skipSpecialTokens?: boolean } = {}): string {
    const decoder = this.streamDecoder({ skipSpecialTokens });
    return decoder.push(ids) + decoder.end();
  }

  /** Decodes token by token; what it gives out is never half a character. */
  streamDecoder({ skipSpecialTokens = true }: { readonly skipSpecialTokens?: boolean } = {}): StreamDecoder {
    return new StreamDecoder(this.#bytes, skipSpecialTokens ? this.#special : new Set(), this.#spaceBefore);
  }

  get hasChatTemplate(): boolean {
    return this.#template !== undefined;
  }

  /** A conversation as the model reads it, the start of its answer included unless switched off. */
  renderChat(messages: readonly Message[], options: ChatOptions = {}): string {
    if (!this.#template) {
      throw new TinyLoraError(
        "ERR_MODEL",
        `${this.#place}: the model has no chat template: expected a plain text as prompt (prompt_style text; generate --text)`,
      );
    }
    return this.#template.render(messages, options);
  }

  /** Ids of a rendered conversation; the template has written BOS where there is one. */
  encodeChat(messages: readonly Message[], options: ChatOptions = {}): Int32Array {
    return this.encode(this.renderChat(messages, options), { addSpecialTokens: false });
  }

  /** The bytes that each id stands for: token i is bytes[offsets[i] .. offsets[i + 1]]. */
  tokenBytes(): TokenBytes {
    return this.#bytes;
  }

  /** Ids of the bytes of what has no token, where there are such. */
  #inBytes(text: string): number[] | undefined {
    if (this.#id(text) !== undefined) return undefined;
    const bytes = [...Buffer.from(text, "utf8")].map((byte) => byte.toString(16).toUpperCase().padStart(2, "0"));
    const ids = bytes.map((byte) => this.#id(`<0x${byte}>`));
    return ids.every((id) => id !== undefined) ? ids : undefined;
  }

  #id(text: string | undefined): number | undefined {
    return text === undefined ? undefined : this.#pipeline.token_to_id(text);
  }
}

function openPipeline({ place, json }: TokenizerSource): Pipeline {
  return inPipeline(place, () => new Pipeline(portablePipeline(json), {}));
}

/** What the package throws is about the file: it looks at a part of it when it comes to use it. */
function inPipeline<T>(place: string, use: () => T): T {
  try {
    return use();
  } catch (error) {
    if (error instanceof TinyLoraError) throw error;
    throw new TinyLoraError("ERR_MODEL", `${place}: not a tokenizer that can be used: ${firstLine(error)}`, {
      cause: error,
    });
  }
}
