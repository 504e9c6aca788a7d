/** What a completion claims as its answer, and whether that is right. */
import { firstNumber, lastNumber, sameNumber, wholeNumber } from "./number.js";

export interface Grade {
  /** Right, and said where it was asked for: after `####` or in \boxed{}. */
  readonly strict: boolean;
  /** Right by the strict reading where there is one, else by the last number of the text. */
  readonly lenient: boolean;
  /** An answer stands after `####` or in \boxed{}, right or wrong. */
  readonly format: boolean;
  /** The answer that was read, for logs; null when there is none. */
  readonly answer: string | null;
}

/**
 * Reads a completion three ways at once.
 *
 * @example grade("5 + 3 = 8\n#### $8.00", "8") // { strict: true, lenient: true, format: true, answer: "$8.00" }
 */
export function grade(completion: string, expected: string): Grade {
  const strict = strictAnswer(completion);
  if (strict !== null) {
    const right = sameAnswer(strict, expected);
    return { strict: right, lenient: right, format: true, answer: strict };
  }
  const last = lastNumber(completion);
  const answer = last === null ? null : String(last);
  return { strict: false, lenient: answer !== null && sameAnswer(answer, expected), format: false, answer };
}

/** The rest of the line after the last `####`, else what the last \boxed{} holds; null when neither says anything. */
export function strictAnswer(completion: string): string | null {
  const hash = completion.lastIndexOf("####");
  const line =
    hash < 0
      ? ""
      : (
          completion
            .slice(hash)
            .replace(/^#+\s*/, "")
            .split("\n")[0] ?? ""
        ).trim();
  if (/[\p{L}\p{N}]/u.test(line)) return line;
  return boxedAnswer(completion);
}

/** What the last complete \boxed{} holds, braces within it included. */
function boxedAnswer(completion: string): string | null {
  for (
    let start = completion.lastIndexOf("\\boxed");
    start >= 0;
    start = completion.lastIndexOf("\\boxed", start - 1)
  ) {
    const open = /^\\boxed\s*\{/.exec(completion.slice(start));
    const content = open && insideBraces(completion, start + open[0].length);
    if (content) return content;
    if (start === 0) break;
  }
  return null;
}

function insideBraces(text: string, start: number): string | null {
  let depth = 1;
  for (let i = start; i < text.length; i++) {
    if (text[i] === "\\") i++;
    else if (text[i] === "{") depth++;
    else if (text[i] === "}" && --depth === 0) return text.slice(start, i).trim() || null;
  }
  return null;
}

/**
 * Whether an answer is the expected one: as numbers where the expected answer is one (units, currency and commas do not
 * count), else as formulas, letter by letter without spaces and layout.
 */
export function sameAnswer(answer: string, expected: string): boolean {
  const wanted = wholeNumber(expected);
  if (wanted === null) return formula(answer) === formula(expected) && formula(expected) !== "";
  const claim = answer.includes("=") ? answer.slice(answer.lastIndexOf("=") + 1) : answer;
  const found = wholeNumber(claim) ?? firstNumber(claim);
  return found !== null && sameNumber(found, wanted);
}

function formula(text: string): string {
  return text
    .replace(/\\(?:left|right|displaystyle|!|,|;|:|quad)/g, "")
    .replace(/\\[dt]frac/g, "\\frac")
    .replace(/\\(?:text|mathrm|mbox)\s*\{([^{}]*)\}/g, "$1")
    .replace(/\^\s*\{?\\circ\}?|\\[$%]|[$%°]/g, "")
    .replace(/[−–]/g, "-")
    .replace(/\s+/g, "")
    .replace(/\.$/, "")
    .toLowerCase();
}
