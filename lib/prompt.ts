import { TinyLoraError } from "./error.js";
import { isObject } from "./is-object.js";
import type { Message, Model } from "./model/open.js";
import { show } from "./show.js";

/** Plain text, a conversation (the model's chat template makes text of it), or token ids as they are. */
export type Prompt = string | readonly Message[] | Int32Array;

/** The ids of the prompt at this place of a call. */
export function promptTokens({ tokenizer }: Pick<Model, "tokenizer">, prompt: Prompt, place: number): Int32Array {
  if (prompt instanceof Int32Array) return prompt;
  if (typeof prompt === "string") return tokenizer.encode(prompt);
  if (Array.isArray(prompt) && prompt.every(isMessage)) return tokenizer.encodeChat(prompt);
  throw new TinyLoraError(
    "ERR_ARGUMENT",
    `prompt ${place}: expected a text, messages with role and content, or an Int32Array of token ids, found ${show(prompt)}`,
  );
}

/** What is no list counts as one prompt, whose message says what is wrong with it. */
export function isPrompt(prompts: Prompt | readonly Prompt[]): prompts is Prompt {
  return !Array.isArray(prompts) || (prompts.length > 0 && isObject(prompts[0]) && "role" in prompts[0]);
}

function isMessage(value: unknown): value is Message {
  return isObject(value) && typeof value.role === "string" && typeof value.content === "string";
}
