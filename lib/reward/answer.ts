/** Whether a completion's answer is right. Without side effects, and always the same for the same texts. */
import { sameMath } from "./math/same.js";
import { numberInWords, sameNumber, wholeNumber } from "./number.js";
import { looseAnswer, strictAnswer } from "./read-answer.js";

export interface Grade {
  /** Right, and said where it was asked for: after `####` or in \boxed{}. */
  readonly strict: boolean;
  /** Right by the strict reading where there is one, else by what the text says last. */
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
  const answer = looseAnswer(completion);
  return { strict: false, lenient: answer !== null && sameAnswer(answer, expected), format: false, answer };
}

/**
 * Whether an answer is the expected one: as numbers where both are (units, currency and commas do not count), as the
 * same letters without spaces and layout, else as mathematics.
 */
export function sameAnswer(answer: string, expected: string): boolean {
  if (answer.trim() === "" || expected.trim() === "") return false;
  const wanted = wholeNumber(expected);
  if (wanted !== null && contradictsItself(answer)) return false;
  const found = wanted === null ? null : numberOf(lastSide(answer));
  // Larger integers are no doubles: they are compared as mathematics, exactly.
  const exact = [wanted, found].every((value) => value === null || Math.abs(value) <= Number.MAX_SAFE_INTEGER);
  if (wanted !== null && found !== null && exact) return sameNumber(found, wanted);
  const letters = withoutLayout(expected);
  return (letters !== "" && withoutLayout(answer) === letters) || sameMath(answer, expected);
}

function numberOf(claim: string): number | null {
  return wholeNumber(claim) ?? (isProse(claim) ? numberInWords(claim) : null);
}

/** 6 = 8: two whole numbers, without words or units that could make them the same. */
function contradictsItself(text: string): boolean {
  const whole = (side: string) => (/^[\s$-]*\d[\d,]*[\s$.]*$/.test(side) ? wholeNumber(side) : null);
  const [left = null, right = null] = text.split("=").slice(-2).map(whole);
  return left !== null && right !== null && left !== right;
}

/** 8 of 5 + 3 = 8, 2 x 4 = 8 and x = 8. An equation, as 2x = 8, is none of its sides. */
function lastSide(text: string): string {
  const sides = text.split("=");
  const left = sides.at(-2);
  const equation = left !== undefined && /\d/.test(left) && /(?<![\p{L}\\])[bckn-ru-z](?!\p{L}|\s*\d)/u.test(left);
  return equation ? text : sides.at(-1)!;
}

/** Words around a number ("20 apples"), as against mathematics with letters in it. */
function isProse(text: string): boolean {
  return !/[\\^_{}]/.test(text) && /[A-Za-z]{3}/.test(text.replace(/\b(?:and|or|sqrt|sin|cos|tan|log|ln|pi)\b/g, ""));
}

function withoutLayout(text: string): string {
  return text
    .replace(/\\(?:left|right|displaystyle|!|,|;|:|quad)/g, "")
    .replace(/\\[dt]frac/g, "\\frac")
    .replace(/\\(?:text|mathrm|mbox)\s*\{([^{}]*)\}/g, "$1")
    .replace(/\^\s*\{?\\circ\}?|\\[$%]|[$%°]/g, "")
    .replace(/[−–]/g, "-")
    .replace(/\s+(?!\d)|(?<!\d)\s+/g, "") // 1 2 is not 12
    .replace(/\.$/, "")
    .toLowerCase();
}
