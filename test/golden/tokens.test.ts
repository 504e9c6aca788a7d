import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { beforeAll, describe, expect, it } from "vitest";
import { openModel } from "../../lib/model/open.js";
import { ModelTokenizer } from "../../lib/model/tokenizer.js";
import { golden, hashIds, noSmollm2, onSmollm2, readFixture, shared, smollm2, type Pipelines, type TinyModel, type Tokens } from "./fixtures.js";

const tokens = readFixture<Tokens>("tokens.json");

describe.skipIf(noSmollm2)(onSmollm2("SmolLM2's tokenizer"), () => {
  let tokenizer: ModelTokenizer;
  beforeAll(async () => {
    tokenizer = (await openModel(smollm2)).tokenizer;
  });

  it("gives the published ids for 2,000 texts of GSM8K", () => {
    const lines = readFileSync(shared("data/gsm8k/train.jsonl"), "utf8").split("\n");
    const found = tokens.gsm8k.map((_, i) => {
      const { question, answer } = JSON.parse(lines[i]!) as { question: string; answer: string };
      return hashIds(tokenizer.encode(question)) + hashIds(tokenizer.encode(answer));
    });
    expect(found).toEqual(tokens.gsm8k);
  });
  it("gives the published ids for odd texts", () => {
    for (const { text, ids } of tokens.odd) expect([text, [...tokenizer.encode(text)]]).toEqual([text, ids]);
    for (const { text, hash } of tokens.mixtures) expect([text, hashIds(tokenizer.encode(text))]).toEqual([text, hash]);
  });
  it("decodes them as the Rust library does", () => {
    for (const { ids, decoded } of tokens.odd) expect(tokenizer.decode(ids)).toBe(decoded);
  });
  it("streams the same text, never half a character", () => {
    for (const { ids, decoded } of tokens.odd) {
      const decoder = tokenizer.streamDecoder();
      const pieces = [...ids.map((id) => decoder.push([id])), decoder.end()];
      expect(pieces.join("")).toBe(decoded);
      expect(pieces.filter((piece) => piece.includes("\ufffd"))).toEqual([]);
    }
  });
});

describe.each(["llama3", "llama-tied", "qwen2", "llama3-8k.gguf", "qwen2.gguf", "qwen3.gguf"])("the tokenizer of %s", (name) => {
  it("gives the Rust library's ids for odd texts", async () => {
    const { tokenizer } = await openModel(golden(`models/${name}`));
    const expected = readFixture<TinyModel>(`models/${name.replace(".gguf", "")}.json`).tokens;
    const texts = [...tokens.odd, ...tokens.mixtures].map(({ text }) => text);
    const wrong = texts.filter((text, i) => hashIds(tokenizer.encode(text)) !== expected[i]);
    expect(wrong).toEqual([]);
  });
});

describe.each(Object.entries(readFixture<Pipelines>("pipelines.json")))("a tokenizer: %s", (name, { json, ids, decoded, added }) => {
  const tokenizer = new ModelTokenizer({ place: name, json, vocab: 400, stopTokens: [], specialTokens: {} });

  it("gives the Rust library's ids for odd texts", () => {
    const wrong = tokens.odd.filter(({ text }, i) => hashIds(tokenizer.encode(text)) !== ids[i]);
    expect(wrong.map(({ text }) => text)).toEqual([]);
  });
  it("decodes them as the Rust library does, piece by piece too", () => {
    const hash = (text: string) => createHash("sha256").update(text).digest("hex").slice(0, 12);
    const wrong = tokens.odd.filter(({ text }, i) => {
      const found = tokenizer.encode(text);
      const decoder = tokenizer.streamDecoder();
      const streamed = [...Array.from(found, (id) => decoder.push([id])), decoder.end()].join("");
      return hash(tokenizer.decode(found)) !== decoded[i] || hash(streamed) !== decoded[i];
    });
    expect(wrong.map(({ text }) => text)).toEqual([]);
    expect(tokenizer.decode(added.ids, { skipSpecialTokens: false })).toBe(added.text);
  });
});
