import { TinyLoraError } from "../error.js";
import { firstLine } from "./files.js";
import { compileTemplate } from "./jinja.js";

export interface Message {
  readonly role: "system" | "user" | "assistant";
  readonly content: string;
}

export interface ChatOptions {
  /** End with the start of the assistant's turn. */
  readonly addGenerationPrompt?: boolean | undefined;
}

/** A model's Jinja template, given what transformers' apply_chat_template gives it. */
export class ChatTemplate {
  readonly source: string;
  readonly #place: string;
  readonly #specialTokens: Readonly<Record<string, string>>;
  #render: ReturnType<typeof compileTemplate> | undefined;

  constructor(place: string, source: string, specialTokens: Readonly<Record<string, string>>) {
    this.source = source;
    this.#place = place;
    this.#specialTokens = specialTokens;
  }

  render(messages: readonly Message[], { addGenerationPrompt = true }: ChatOptions = {}): string {
    const context = {
      ...this.#specialTokens,
      messages: messages.map(({ role, content }) => ({ role, content })),
      add_generation_prompt: addGenerationPrompt,
      tools: null,
      documents: null,
    };
    try {
      this.#render ??= compileTemplate(this.source);
      return this.#render(context);
    } catch (error) {
      throw new TinyLoraError("ERR_MODEL", `${this.#place}: chat template: ${firstLine(error)}`, { cause: error });
    }
  }
}
