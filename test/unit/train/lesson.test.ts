import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { resolveConfig } from "../../../lib/config/config.js";
import { openModel } from "../../../lib/model/open.js";
import { ModelTokenizer, type TokenizerSource } from "../../../lib/model/tokenizer.js";
import type { Policy } from "../../../lib/policy.js";
import { toLesson } from "../../../lib/train/sft.js";
import { writeTinyModel } from "../../tiny-model.js";
import { FakePolicy } from "./fake-policy.js";

const [END, TURN] = [256, 257];
const example = { id: "sum/1", question: "1+1?", answer: "2", row: { solution: "it is 2" } };

let folder: string;
let tiny: ModelTokenizer;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "tinylora-sft-"));
  tiny = (await openModel(await writeTinyModel(join(folder, "model")))).tokenizer;
});
afterAll(() => rm(folder, { recursive: true }));

/** Of an example: the prompt's tokens, and what is learned. */
function lesson(tokenizer: Policy["tokenizer"], prompt_style: "chat" | "text") {
  const policy: Policy = Object.assign(new FakePolicy(), { tokenizer } as object);
  const { tokens, prompt } = toLesson(policy, example, resolveConfig({ prompt_style, shots: 0 }));
  return { prompt: tokens.slice(0, prompt), answer: tokens.slice(prompt) };
}

/** Letters, or pieces of sentencepiece, whose text starts with a space of its own. */
function pieces(): TokenizerSource {
  const all = ["<s>", "</s>", "▁", ...new Set("Question: 1+1?\nAnswer:it is 2".replaceAll(" ", "")), "▁it", "it"];
  return {
    place: "tokenizer.json",
    json: {
      added_tokens: all.slice(0, 2).map((content, id) => ({ id, content, special: true, normalized: false })),
      normalizer: {
        type: "Sequence",
        normalizers: [
          { type: "Prepend", prepend: "▁" },
          { type: "Replace", pattern: { String: " " }, content: "▁" },
        ],
      },
      pre_tokenizer: null,
      post_processor: null,
      decoder: { type: "Replace", pattern: { String: "▁" }, content: " " },
      model: {
        type: "BPE",
        vocab: Object.fromEntries(all.map((token, id) => [token, id])),
        merges: [
          ["i", "t"],
          ["▁", "it"],
        ],
      },
    },
    vocab: all.length,
    eos: "</s>",
    stopTokens: [],
    specialTokens: {},
  };
}

describe("a lesson", () => {
  it("ends as the model does where the prompt is a text", () => {
    expect(lesson(tiny, "text").answer).toEqual([...tiny.encode(" it is 2"), END]);
  });

  it("ends as the chat template ends a turn, which may be another token than the model's end", () => {
    const { prompt, answer } = lesson(tiny, "chat");
    expect(tiny.decode(Int32Array.from(prompt))).toBe("user: 1+1?assistant: ");
    expect(answer).toEqual([...tiny.encode("it is 2"), TURN]);
  });

  it("keeps its prompt where the template writes the start of an answer that is there in another way", () => {
    const encodeChat: typeof tiny.encodeChat = (messages, { addGenerationPrompt = true } = {}) => {
      const begin = [...tiny.encode("[think]")];
      const [asked, said] = messages.map(({ content }) => [...tiny.encode(content), TURN]);
      return Int32Array.from([...asked!, ...(addGenerationPrompt ? begin : []), ...(said ?? [])]);
    };
    const other = {
      encode: tiny.encode.bind(tiny),
      encodeChat,
      decode: tiny.decode.bind(tiny),
      stopTokens: [END, TURN],
    };
    const { prompt, answer } = lesson(other, "chat");
    expect(tiny.decode(Int32Array.from(prompt))).toBe("1+1?[think]");
    expect(answer).toEqual([...tiny.encode("it is 2"), TURN]);
  });

  it("has its words as they are tokenized behind the prompt, without a second space", () => {
    const tokenizer = new ModelTokenizer(pieces());
    const { prompt, answer } = lesson(tokenizer, "text");
    const whole = tokenizer.encode("Question: 1+1?\nAnswer: it is 2");
    expect([...prompt, ...answer]).toEqual([...whole, tokenizer.eos]);
    expect(answer[0]).toBe(tokenizer.vocab - 2);
  });
});
