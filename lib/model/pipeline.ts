// What @huggingface/tokenizers takes for the same but is not, rewritten into what it gets right:
//  - its Digits splits ASCII digits only; the Rust library splits every numeric character;
//  - its \s is JavaScript's, which has U+FEFF and lacks U+0085; Rust's is the Unicode property White_Space.
import { isObject } from "./fields.js";

/** GPT-2's pattern, which ByteLevel uses with use_regex, with White_Space spelt out. */
const GPT2 =
  "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\p{White_Space}\\p{L}\\p{N}]+|\\p{White_Space}+(?!\\P{White_Space})|\\p{White_Space}+";

/** The same tokenizer.json with a pre-tokenizer that means the same to the package as to the Rust library. */
export function portablePipeline(json: Record<string, unknown>): Record<string, unknown> {
  return { ...json, pre_tokenizer: portable(json.pre_tokenizer) };
}

function portable(step: unknown): unknown {
  if (!isObject(step)) return step;
  switch (step.type) {
    case "Sequence":
      return { ...step, pretokenizers: Array.isArray(step.pretokenizers) ? step.pretokenizers.map(portable) : [] };
    case "Digits":
      return split(step.individual_digits ? "\\p{N}" : "\\p{N}+");
    case "ByteLevel":
      // The prefix space comes before the split there: such a step stays as it is.
      if (step.use_regex === false || step.add_prefix_space) return step;
      return { type: "Sequence", pretokenizers: [split(GPT2), { ...step, use_regex: false }] };
    case "Split": {
      if (!isObject(step.pattern) || typeof step.pattern.Regex !== "string") return step;
      return { ...step, pattern: { Regex: unicodeSpaces(step.pattern.Regex) } };
    }
    default:
      return step;
  }
}

/** A step that cuts the text into what matches and what lies between. */
export function split(regex: string): Record<string, unknown> {
  return { type: "Split", pattern: { Regex: regex }, behavior: "Isolated", invert: false };
}

function unicodeSpaces(regex: string): string {
  return regex.replace(/\\[\s\S]/g, (pair) => {
    if (pair === "\\s") return "\\p{White_Space}";
    return pair === "\\S" ? "\\P{White_Space}" : pair;
  });
}
