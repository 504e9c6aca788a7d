// What Python does with texts where JavaScript does something else: chat templates are written for Python.

/** What str.isspace and str.strip mean: not U+FEFF, which JavaScript's \s has; U+001C to U+001F and U+0085, which it lacks. */
const SPACE = "[\\t-\\r\\x1c-\\x20\\x85\\xa0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000]";
const SPACES_BEFORE = new RegExp(`^${SPACE}+`, "u");
const SPACES = new RegExp(`${SPACE}+`, "u");

/** str.strip, str.lstrip or str.rstrip: without characters of `chars`, by default white space, at these ends. */
export function strip(text: string, ends: "left" | "right" | "both", chars?: string): string {
  const characters = new Set(chars);
  const out = (c: string) => (chars === undefined ? SPACES_BEFORE.test(c) : characters.has(c));
  let [start, stop] = [0, text.length];
  while (ends !== "right" && start < stop) {
    const first = String.fromCodePoint(text.codePointAt(start)!);
    if (!out(first)) break;
    start += first.length;
  }
  while (ends !== "left" && stop > start) {
    const pair = stop - 2 >= start ? text.codePointAt(stop - 2)! : 0;
    const last = pair > 0xffff ? String.fromCodePoint(pair) : text[stop - 1]!;
    if (!out(last)) break;
    stop -= last.length;
  }
  return text.slice(start, stop);
}

/** len: of characters, not of halves of them. */
export function lengthOf(text: string): number {
  let length = 0;
  for (const _ of text) ++length;
  return length;
}

/** str.count: how often one text is in another, beside each other; an empty one is between all characters. */
export function countOf(text: string, part: string): number {
  if (part === "") return text.length + 1;
  let count = 0;
  for (let at = text.indexOf(part); at >= 0; at = text.indexOf(part, at + part.length)) ++count;
  return count;
}

/** str.split without a separator. */
export function words(text: string): string[] {
  return text.split(SPACES).filter((word) => word !== "");
}

/** str.capitalize: the first letter large, all others small. */
export function capitalize(text: string): string {
  const [first = "", ...rest] = text;
  return first.toUpperCase() + rest.join("").toLowerCase();
}

/** Jinja's title filter: words begin after white space and the characters -({[<. */
export function title(text: string): string {
  const parts = text.split(new RegExp(`([-({[<]|${SPACE})`, "u"));
  return parts.map(capitalize).join("");
}

/** repr of a str: in single quotes, in double ones where only those are not in it; what is not printed is spelt. */
export function quoted(text: string): string {
  const quote = text.includes("'") && !text.includes('"') ? '"' : "'";
  return `${quote}${text.replace(/[\\'"]|[\p{C}\p{Z}]/gu, (c) => spelt(c, quote))}${quote}`;
}

function spelt(character: string, quote: string): string {
  if (character === " " || (/['"]/.test(character) && character !== quote)) return character;
  const short = { "\n": "\\n", "\r": "\\r", "\t": "\\t", "\\": "\\\\", [quote]: `\\${quote}` }[character];
  if (short !== undefined) return short;
  const code = character.codePointAt(0)!;
  const [letter, width] = code < 0x100 ? ["x", 2] : code < 0x10000 ? ["u", 4] : ["U", 8];
  return `\\${letter}${code.toString(16).padStart(width as number, "0")}`;
}

const MONTHS = "January February March April May June July August September October November December".split(" ");
const DAYS = "Sunday Monday Tuesday Wednesday Thursday Friday Saturday".split(" ");

/** datetime.strftime in the C locale, in local time. Throws for a code that is not known. */
export function strftime(date: Date, format: string): string {
  return format.replace(/%(-?)(.)/gs, (code, dash: string, letter: string) => {
    const digits = (value: number, width = 2) => (dash === "" ? String(value).padStart(width, "0") : String(value));
    const hour = date.getHours();
    switch (letter) {
      case "Y":
        return String(date.getFullYear());
      case "y":
        return digits(date.getFullYear() % 100);
      case "m":
        return digits(date.getMonth() + 1);
      case "d":
        return digits(date.getDate());
      case "B":
        return MONTHS[date.getMonth()]!;
      case "b":
        return MONTHS[date.getMonth()]!.slice(0, 3);
      case "A":
        return DAYS[date.getDay()]!;
      case "a":
        return DAYS[date.getDay()]!.slice(0, 3);
      case "H":
        return digits(hour);
      case "I":
        return digits(hour % 12 || 12);
      case "p":
        return hour < 12 ? "AM" : "PM";
      case "M":
        return digits(date.getMinutes());
      case "S":
        return digits(date.getSeconds());
      case "%":
        return "%";
      default:
        throw new Error(`strftime_now: unknown code ${code}`);
    }
  });
}
