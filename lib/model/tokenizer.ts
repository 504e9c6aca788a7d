import { Template } from "@huggingface/jinja";
import { Tokenizer } from "@huggingface/tokenizers";
import { TinyLoraError } from "../error.js";

export interface Message {
  readonly role: "system" | "user" | "assistant";
  readonly content: string;
}

export interface TokenizerSource {
  /** As tokenizer.json has it. */
  readonly json: TokenizerJson;
  /** As tokenizer_config.json has it. */
  readonly config: Record<string, unknown>;
  /** Put before every plain text; for tokenizers whose post-processor does not do it. */
  readonly bos?: number | undefined;
  readonly stopTokens: readonly number[];
  /** Jinja; without one a model has no chat. */
  readonly chatTemplate?: string | undefined;
  /** For messages. */
  readonly file: string;
}

export interface TokenizerJson {
  readonly model: { readonly vocab: Record<string, number>; readonly byte_fallback?: boolean };
  readonly added_tokens: readonly { readonly id: number; readonly content: string; readonly special: boolean }[];
}

/** Text to token ids and back, and the model's chat template. */
export class ModelTokenizer {
  /** End of text and end of turn. */
  readonly stopTokens: Int32Array;
  #source: TokenizerSource;
  #tokenizer: Tokenizer;
  #template: Template | undefined;

  constructor(source: TokenizerSource) {
    this.#source = source;
    this.#tokenizer = new Tokenizer(source.json, source.config);
    this.stopTokens = Int32Array.from(new Set(source.stopTokens));
  }

  /** A plain text, after the token that begins texts where the model has one. */
  encode(text: string): Int32Array {
    const ids = this.#tokenizer.encode(text).ids;
    return Int32Array.from(this.#source.bos === undefined ? ids : [this.#source.bos, ...ids]);
  }

  /** A conversation through the chat template, up to where the assistant's next words begin. */
  encodeChat(messages: readonly Message[]): Int32Array {
    return Int32Array.from(this.#tokenizer.encode(this.renderChat(messages), { add_special_tokens: false }).ids);
  }

  /** Special tokens are left out. */
  decode(tokens: Int32Array): string {
    return this.#tokenizer.decode([...tokens], { skip_special_tokens: true, clean_up_tokenization_spaces: false });
  }

  renderChat(messages: readonly Message[]): string {
    const { chatTemplate, config, file } = this.#source;
    if (chatTemplate === undefined) {
      throw new TinyLoraError("ERR_MODEL", `${file}: the model has no chat template: give it plain text`);
    }
    this.#template ??= new Template(chatTemplate);
    try {
      return this.#template.render({
        messages: messages.map(({ role, content }) => ({ role, content })),
        add_generation_prompt: true,
        bos_token: textOf(config.bos_token),
        eos_token: textOf(config.eos_token),
      });
    } catch (cause) {
      throw new TinyLoraError("ERR_MODEL", `${file}: the chat template refuses: ${(cause as Error).message}`, {
        cause,
      });
    }
  }

  /** The bytes that each token stands for: token i is bytes[offsets[i] .. offsets[i + 1]]. */
  tokenBytes(): { bytes: Uint8Array; offsets: Uint32Array } {
    const { model, added_tokens } = this.#source.json;
    const pieces: Uint8Array[] = [];
    const toBytes = model.byte_fallback ? sentencePieceBytes : byteLevelBytes;
    for (const [token, id] of Object.entries(model.vocab)) pieces[id] = toBytes(token);
    for (const { id, content } of added_tokens) pieces[id] = new TextEncoder().encode(content);
    const offsets = new Uint32Array(pieces.length + 1);
    for (let id = 0; id < pieces.length; id++) offsets[id + 1] = offsets[id]! + (pieces[id]?.length ?? 0);
    const bytes = new Uint8Array(offsets.at(-1)!);
    for (let id = 0; id < pieces.length; id++) bytes.set(pieces[id] ?? new Uint8Array(0), offsets[id]!);
    return { bytes, offsets };
  }
}

/** Tokens in configs are texts, or objects around them. */
function textOf(token: unknown): string | undefined {
  if (typeof token === "string") return token;
  return (token as { content?: string } | null | undefined)?.content;
}

/** GPT-2's alphabet: printable bytes stand for themselves, the others for the code points from 256 on, in order. */
const BYTE_OF = new Map<string, number>();
for (let byte = 0, next = 256; byte < 256; byte++) {
  const printable = (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
  BYTE_OF.set(String.fromCodePoint(printable ? byte : next++), byte);
}

function byteLevelBytes(token: string): Uint8Array {
  const characters = [...token];
  const bytes = characters.map((character) => BYTE_OF.get(character));
  if (bytes.includes(undefined)) return new TextEncoder().encode(token);
  return Uint8Array.from(bytes as number[]);
}

function sentencePieceBytes(token: string): Uint8Array {
  const byte = /^<0x([0-9A-F]{2})>$/.exec(token);
  return byte
    ? Uint8Array.of(Number.parseInt(byte[1]!, 16))
    : new TextEncoder().encode(token.replaceAll("\u2581", " "));
}
