/** Numbers as people and models write them: $1,234.50, −3, 3/4, 1 1/2, ½, \frac{3}{4}, \frac34, 50%, 18. */

const digits = String.raw`(?:[1-9]\d{0,2}(?:,\d{3})+(?!\d)|\d+)`;
const decimal = String.raw`(?:${digits}(?:\.\d+)?|(?<![\d.])\.\d+)(?:[eE][+-]?\d+(?![\w.]))?`;
// A minus belongs to the number unless something that can be subtracted from stands before it.
const sign = String.raw`(?:(?<![\p{L}\p{N})\]%])-|(?<![\p{N})\]%]\s)-\s)?`;
const currency = String.raw`(?:[$€£¥₹]\s?-?)?`;
const fraction = String.raw`\s?/\s?${digits}(?![\d/]|\.\d)`;
const mixed = String.raw`${digits}\s+${digits}\s?/\s?${digits}(?![\d/]|\.\d)`;
const number = `(?<sign>${sign})${currency}(?<value>${mixed}|${decimal}(?:${fraction})?)`;

const anywhere = new RegExp(number, "gu");
// cm, square units, m^2, km/h. A single letter that is no unit's, pi and a conjunction say more than a unit.
const noUnit = String.raw`(?!(?:[^dghlmstACFHJKLNVW]|pi|and|or)(?!\p{L}))`;
const unit = String.raw`${noUnit}\p{L}[\p{L}.]*(?:\^?\d(?!\d)|[²³])?`;
// All there is: a number and perhaps a unit in words, per cent or degrees.
const alone = new RegExp(String.raw`^${number}\s*(?:%|°[CF]?)?(?:\s+${unit}(?:\s*\/\s*${unit})?)*\.?$`, "u");

/** The last number in a text, or null. */
export function lastNumber(text: string): number | null {
  let last: number | null = null;
  for (const match of plain(text).matchAll(anywhere)) last = toNumber(match) ?? last;
  return last;
}

const DENIAL = /\b(?:not|never)\b|n't\b/i;
const MORE = /\band (?:a|one) (?:half|third|quarter)\b/i;
const CHOICE = /\b(?:or|either|between|versus|vs)\b/i;
/** What tells that the next number is about something else: 20 apples in 2 bags. */
const ASIDE =
  /[(=:]|\b(?:in|of|for|per|at|each|with|from|by|on|into|after|left|than|every|out|because|since|as|so|is|are|was|were)\b/i;

/**
 * The number that words answer with: the first. null where there is none, where it is denied ("not 5"), and where
 * another one stands beside it: 5 apples or 6 apples, 1 apple, 2 apples, 2 hours 30 minutes.
 */
export function numberInWords(text: string): number | null {
  const said = plain(text);
  if (MORE.test(said)) return null;
  let first: number | null = null;
  let end = 0;
  for (const match of said.matchAll(anywhere)) {
    const value = toNumber(match);
    if (value === null) continue;
    const between = said.slice(end, match.index);
    end = match.index + match[0].length;
    if (first === null) {
      if (DENIAL.test(between)) return null;
      first = value;
    } else if (!sameNumber(value, first)) {
      const beside = between.split(/\s+/).length <= 5 && !ASIDE.test(between);
      return beside || CHOICE.test(said) ? null : first;
    }
  }
  return first;
}

/** The number that a text is, but for its unit; null when it says anything else. */
export function wholeNumber(text: string): number | null {
  const match = alone.exec(plain(text).trim());
  return match && toNumber(match);
}

/** Whole numbers must be equal; others may differ in the sixth decimal, as a written 2/3 does. */
export function sameNumber(a: number, b: number): boolean {
  if (Number.isInteger(a) && Number.isInteger(b)) return a === b;
  return Math.abs(a - b) <= 1e-6 * Math.min(1, Math.max(Math.abs(a), Math.abs(b)));
}

function toNumber(match: RegExpMatchArray): number | null {
  const { sign = "", value = "" } = match.groups ?? {};
  const negative = sign.includes("-") || /-/.test(match[0].slice(0, match[0].length - value.length));
  const [first, ...rest] = value.replaceAll(",", "").split(/\s*\/\s*/);
  const parts = first!.trim().split(/\s+/).map(Number); // [whole, numerator] of a mixed number
  const divisor = rest.length > 0 ? Number(rest[0]) : 1;
  const magnitude = parts.length === 2 ? parts[0]! + parts[1]! / divisor : parts[0]! / divisor;
  if (!Number.isFinite(magnitude)) return null;
  return negative ? -magnitude : magnitude;
}

const vulgar: Record<string, string> = {
  "½": "1/2",
  "⅓": "1/3",
  "⅔": "2/3",
  "¼": "1/4",
  "¾": "3/4",
  "⅕": "1/5",
  "⅛": "1/8",
};

/** The same text with LaTeX and typography taken out of its numbers. */
function plain(text: string): string {
  return text
    .replace(/\\[dt]?frac\s*(?:(\d)|\{\s*(\d+)\s*\})\s*(?:(\d)|\{\s*(\d+)\s*\})/g, " $1$2/$3$4")
    .replace(/-\s+(?=\d+\/\d)/g, "-")
    .replace(/\\(?:text|mathrm|mbox)\s*\{([^{}]*)\}/g, " $1")
    .replace(/\\([$%])/g, "$1")
    .replace(/\{,\}/g, ",")
    .replace(/\\[,!;: ](?=\d{3}(?!\d))|\\!/g, "")
    .replace(/\\[,;: ]/g, " ")
    .replace(/\^\s*(?:\{\s*\\circ\s*\}|\\circ)/g, "°")
    .replace(/[−–‒﹣-]/g, "-")
    .replace(/(?<=\d)[\u00a0\u2009\u202f](?=\d{3}(?!\d))/g, ",")
    .replace(/(?<=\p{Lu})\d+(?=\p{Lu})/gu, "") // a code, as H2O
    .replace(/[½⅓⅔¼¾⅕⅛]/g, (character) => ` ${vulgar[character]}`);
}
