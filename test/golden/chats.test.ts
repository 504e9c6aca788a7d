import { describe, expect, it } from "vitest";
import { ChatTemplate } from "../../lib/model/chat-template.js";
import { openModel } from "../../lib/model/open.js";
import { type Chats, noSmollm2, onSmollm2, readFixture, smollm2 } from "./fixtures.js";

const { templates, specialTokens, chats } = readFixture<Chats>("chats.json");

describe("chat templates", () => {
  it.each(chats.map((chat, i) => ({ ...chat, i })))("$i: $template as transformers renders it", (chat) => {
    const template = new ChatTemplate("chats.json", templates[chat.template]!, specialTokens);
    if (chat.text === null) expect(() => template.render(chat.messages, chat)).toThrow(/is not defined|expected texts/);
    else expect(template.render(chat.messages, chat)).toBe(chat.text);
  });

  it.skipIf(noSmollm2)(onSmollm2("SmolLM2's comes from the GGUF file, its system prompt included"), async () => {
    const { tokenizer } = await openModel(smollm2);
    for (const chat of chats.filter(({ template }) => template === "smollm2")) {
      expect(tokenizer.renderChat(chat.messages, chat)).toBe(chat.text);
    }
    expect(tokenizer.renderChat([{ role: "user", content: "Hi" }])).toContain("named SmolLM, trained by Hugging Face");
  });
});
