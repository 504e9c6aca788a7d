// What @huggingface/tokenizers takes for the same but is not, rewritten into what it gets right:
//  - its Digits splits ASCII digits only; the Rust library splits every numeric character;
//  - its \s is JavaScript's, which has U+FEFF and lacks U+0085; Rust's is the Unicode property White_Space;
//  - its Metaspace never splits; Rust's begins a piece at every ▁ unless told not to;
//  - its Split knows of two behaviors, Isolated and Removed; Rust has five, and `invert` is for each;
//  - its Punctuation knows of none, and keeps neighbours together; its Whitespace takes ASCII letters for words;
//  - an added token that the vocabulary also has keeps the id of the vocabulary in Rust.
import { isObject } from "../is-object.js";

/** GPT-2's pattern, which ByteLevel uses with use_regex, with White_Space spelt out. */
const GPT2 =
  "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\p{White_Space}\\p{L}\\p{N}]+|\\p{White_Space}+(?!\\P{White_Space})|\\p{White_Space}+";

/** The same tokenizer.json with a pre-tokenizer and ids that mean the same to the package as to the Rust library. */
export function portablePipeline(json: Record<string, unknown>): Record<string, unknown> {
  return { ...json, pre_tokenizer: portable(json.pre_tokenizer), added_tokens: addedTokens(json) };
}

function addedTokens({ added_tokens: added, model }: Record<string, unknown>): unknown {
  if (!Array.isArray(added) || !isObject(model) || !isObject(model.vocab)) return added;
  const { vocab } = model;
  return added.map((token: { content: string }) =>
    Object.hasOwn(vocab, token.content) ? { ...token, id: vocab[token.content] } : token,
  );
}

function portable(step: unknown): unknown {
  if (!isObject(step)) return step;
  switch (step.type) {
    case "Sequence":
      return { ...step, pretokenizers: Array.isArray(step.pretokenizers) ? step.pretokenizers.map(portable) : [] };
    case "Digits":
      return split(step.individual_digits ? "\\p{N}" : "\\p{N}+");
    case "ByteLevel":
      if (step.use_regex === false) return step;
      return sequence(...(step.add_prefix_space ? [SPACE_BEFORE] : []), split(GPT2), {
        ...step,
        use_regex: false,
        add_prefix_space: false,
      });
    case "Metaspace": {
      const space = typeof step.replacement === "string" ? step.replacement : "▁";
      return step.split === false ? step : sequence(step, split(`${literal(space)}[^${literal(space)}]*`));
    }
    case "Whitespace":
      return { ...split(`[${WORD_LETTERS}]+|[^${WORD_LETTERS}\\p{White_Space}]+`, "Removed"), invert: true };
    case "WhitespaceSplit":
      return split("\\p{White_Space}+", "Removed");
    case "Punctuation":
      return split("[\\p{P}$+<=>^`|~]", step.behavior);
    case "Split": {
      if (!isObject(step.pattern)) return step;
      const { Regex: regex, String: text } = step.pattern;
      const behavior = step.invert ? (INVERTED.get(step.behavior) ?? step.behavior) : step.behavior;
      const pattern = typeof regex === "string" ? unicodeSpaces(regex) : literal(String(text));
      return { ...split(pattern, behavior), invert: behavior === "Removed" && step.invert };
    }
    default:
      return step;
  }
}

/** \w of Rust's regular expressions. */
const WORD_LETTERS = "\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}\\p{Join_Control}";

/** What a behavior is where the pieces between the matches are meant. */
const INVERTED: ReadonlyMap<unknown, string> = new Map([
  ["MergedWithPrevious", "MergedWithNext"],
  ["MergedWithNext", "MergedWithPrevious"],
]);

/** A space before a text that does not begin with one. */
const SPACE_BEFORE = { type: "Metaspace", replacement: " ", prepend_scheme: "always", split: false };

function sequence(...pretokenizers: readonly unknown[]): Record<string, unknown> {
  return { type: "Sequence", pretokenizers };
}

function literal(text: string): string {
  return text.replace(/[\\^$.*+?()[\]{}|/-]/g, "\\$&");
}

/** The pattern of a split whose pieces are what it matches and what lies between. */
function pieces(pattern: string, behavior: unknown): string {
  const others = `(?:(?!${pattern})[\\s\\S])*`;
  switch (behavior) {
    case "MergedWithPrevious":
      return `${others}(?:${pattern})`;
    case "MergedWithNext":
      return `(?:${pattern})${others}`;
    case "Contiguous":
      return `(?:${pattern})+`;
    default:
      return pattern;
  }
}

/** A step that cuts the text into what matches and what lies between, or as `behavior` says. */
export function split(regex: string, behavior: unknown = "Isolated"): Record<string, unknown> {
  return { type: "Split", pattern: { Regex: pieces(regex, behavior) }, behavior, invert: false };
}

function unicodeSpaces(regex: string): string {
  return regex.replace(/\\[\s\S]/g, (pair) => {
    if (pair === "\\s") return "\\p{White_Space}";
    return pair === "\\S" ? "\\P{White_Space}" : pair;
  });
}
