import { readFileSync } from "node:fs";
import { join } from "node:path";
import { Tokenizer } from "@huggingface/tokenizers";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { fitForLongWords } from "../../../lib/model/bpe.js";

interface Model {
  encode(words: string[]): string[];
}

const file = join(import.meta.dirname, "..", "..", "golden", "models", "llama3", "tokenizer.json");
const json = JSON.parse(readFileSync(file, "utf8"));
const models = (changes: object = {}) => {
  const [before, after] = [0, 1].map(() => new Tokenizer({ ...json, ...changes }, {}).model as Model);
  fitForLongWords(after);
  return { before: before!, after: after! };
};

describe("BPE of long words", () => {
  it.each([{}, { end_of_word_suffix: "</w>" }])("gives the package's tokens: %j", (changes) => {
    const merges = [...json.model.merges, "a b", ["b", "a"], "ab a", "a b", "a </w>", "b a</w>"];
    const given = merges.map((merge) => (typeof merge === "string" ? merge.split(" ") : merge));
    const { before, after } = models({ model: { ...json.model, ...changes, merges: given } });
    const letters = fc.constantFrom(...new Set([...given.flat(), "a", "b", "a", "b", "\u{1f600}"]));
    const word = fc.array(letters, { minLength: 256, maxLength: 600 }).map((parts) => parts.join(""));
    const property = fc.property(word, (text) => {
      expect(after.encode([text])).toEqual(before.encode([text]));
    });
    fc.assert(property, { numRuns: 100 });
  });
  it("takes a word of a million letters", () => {
    expect(
      models()
        .after.encode(["a".repeat(1e6)])
        .join(""),
    ).toHaveLength(1e6);
  });
  it("takes Unigram's word of as many tokens, too", () => {
    const model = {
      type: "Unigram",
      unk_id: 0,
      vocab: [
        ["<unk>", 0],
        ["a", -1],
        ["b", -1],
      ],
    };
    const { before, after } = models({ model });
    expect(after.encode(["ab", "ba"])).toEqual(before.encode(["ab", "ba"]));
    expect(after.encode(["ab".repeat(1e5)])).toHaveLength(2e5);
  });
});
