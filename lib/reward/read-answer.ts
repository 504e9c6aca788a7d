/** Where in a completion its answer stands. */
import { lastNumber } from "./number.js";

/** The rest of the line after the last `####`, else what the last \boxed{} holds; null when neither says anything. */
export function strictAnswer(completion: string): string | null {
  const hash = completion.lastIndexOf("####");
  const rest = hash < 0 ? "" : completion.slice(hash).replace(/^#+\s*/, "");
  const line = withoutEmphasis(rest.split("\n")[0] ?? "");
  if (/[\p{L}\p{N}]/u.test(line)) return line;
  return boxedAnswer(completion);
}

/**
 * The answer of a text that marks none: what follows the last "answer is", else the last formula between $ or \( \) or
 * \[ \], unless a number comes after it; else the last number.
 */
export function looseAnswer(completion: string): string | null {
  const text = completion.slice(-MAX_TAIL);
  const bare = text.replace(/\\(?!boxed)[A-Za-z]+/g, "");
  if (text.length <= 80 && !SENTENCE.test(bare) && (/\d/.test(text) || bare !== text)) return withoutEmphasis(text); // nothing but the answer
  const announced = afterAnnouncement(text);
  if (announced !== null) return announced;
  const formula = lastFormula(text);
  const number = lastNumber(formula ? text.slice(formula.end) : text);
  return number === null ? (formula?.content ?? null) : String(number);
}

/** **5** and `5` as 5. */
function withoutEmphasis(text: string): string {
  return text.replace(/\*\*([^*]*)\*\*/g, "$1").replace(/^[\s*_`]+|[\s*_`]+$/g, "");
}

const MAX_TAIL = 20_000;
/** Of what is more than an answer: a word, short ones ("it is 8") among them, a formula's border, a line's end. */
const SENTENCE = /[a-z]{3}|\b(?:[Ii]t|is|[Ss]o|[Ww]e)\b|[$\n]|\\[([]/;

/** A box or a formula in a text. */
interface Place {
  readonly start: number;
  readonly end: number;
  readonly content: string;
}

/** What the last complete \boxed{} holds, with those right before it: \boxed{1} and \boxed{2} is one answer. */
function boxedAnswer(completion: string): string | null {
  const text = completion.slice(-MAX_TAIL);
  const contents = lastOnes(text, completeBoxes(text));
  return contents.length === 0 ? null : [...new Set(contents)].join(", ");
}

function completeBoxes(text: string): Place[] {
  const boxes: Place[] = [];
  const closed = closingBraces(text);
  for (const match of text.matchAll(/\\(?:boxed|fbox|framebox)\s*\{/g)) {
    const open = match.index + match[0].length;
    if (match.index < (boxes.at(-1)?.end ?? 0)) continue; // inside the one before
    const end = closed.get(open - 1);
    const content = text.slice(open, end).trim();
    if (end !== undefined && content !== "") boxes.push({ start: match.index, end: end + 1, content });
  }
  return boxes;
}

/** What the last of these places of a text says, with those right before it. */
function lastOnes(text: string, places: readonly Place[]): string[] {
  let first = places.length - 1;
  while (first > 0 && joined(text.slice(places[first - 1]!.end, places[first]!.start))) first--;
  return places.slice(Math.max(0, first)).map(({ content }) => content);
}

/** Whether what stands between two places makes them one answer: a conjunction, or nothing that is a word. */
function joined(between: string): boolean {
  if (between.length > 60) return false;
  const words = between
    .replace(/\\text\w*|\\q?quad|\\[a-z]*space/g, " ")
    .replace(/\\[()[\],;! ]|[${}]/g, " ")
    .trim();
  return words.length <= 30 && (/\b(?:and|or)\b|^[,;]/.test(words) || !/[\p{L}\p{N}.]/u.test(words));
}

/** Where each opening brace is closed, in one pass. */
function closingBraces(text: string): Map<number, number> {
  const open: number[] = [];
  const closed = new Map<number, number>();
  for (let i = 0; i < text.length; i++) {
    if (text[i] === "\\") i++;
    else if (text[i] === "{") open.push(i);
    else if (text[i] === "}") {
      const start = open.pop();
      if (start !== undefined) closed.set(start, i);
    }
  }
  return closed;
}

/** "The final answer is $(1, 2)$. I hope it is correct.": the formula, or the rest of the sentence. */
function afterAnnouncement(text: string): string | null {
  const announcements = [...text.matchAll(/\banswer\s*(?:is|:)\s*:?/gi)];
  const last = announcements.at(-1);
  if (!last) return null;
  const rest = text.slice(last.index + last[0].length).slice(0, 2000);
  const formula = /^[\s*"]*(?:\$\$?((?:\\.|[^$\\])+)\$\$?|\\\(([\s\S]+?)\\\)|\\\[([\s\S]+?)\\\])/.exec(rest);
  if (formula) return (formula[1] ?? formula[2] ?? formula[3])!.trim();
  const sentence = /^[\s*]*([^\n]+?)[*\s]*(?:\.(?:\s|$)|\n|$)/.exec(rest)?.[1];
  if (!sentence || !/[\p{L}\p{N}]/u.test(sentence)) return null;
  return /\d/.test(sentence) || sentence.split(/\s+/).length <= 3 ? sentence : null; // not "the number of apples"
}

/** The last formula, and those right before it: $1$ and $2$. */
function lastFormula(text: string): Pick<Place, "end" | "content"> | null {
  const found = [...text.matchAll(/\$\$([^$]+)\$\$|\$((?:\\.|[^$\n\\])+)\$|\\\(([^\n]+?)\\\)|\\\[([\s\S]+?)\\\]/g)];
  const formulas = found.map((match): Place => {
    const content = match.slice(1).find((part) => part !== undefined) ?? "";
    return { start: match.index, end: match.index + match[0].length, content: content.trim() };
  });
  const last = formulas.at(-1);
  return last ? { end: last.end, content: lastOnes(text, formulas).join(", ") } : null;
}
