/** Tokens of a mathematical text in the spelling of spelling.ts. */
export interface Token {
  readonly kind: "number" | "name" | "word" | "text" | "command" | "symbol";
  readonly text: string;
  /** Of a comma: it was written as "or". */
  readonly or?: boolean;
}

const conjunction = (word: string): Token => ({ kind: "symbol", text: ",", or: /or/i.test(word) });

/** What a comma between digits may mean: 1,234 as one number, as two, or as a decimal. */
export type Comma = "thousands" | "list" | "decimal";

export const FUNCTIONS = new Set(
  "sin cos tan cot sec csc arcsin arccos arctan arccot sinh cosh tanh log ln lg exp sqrt max min gcd lcm det mod".split(
    " ",
  ),
);

const UNITS = new Set(
  (
    "percent percentage pct deg degree degrees dollar dollars cent cents unit units cm mm km kg mg ml mph kph meter meters metre " +
    "metres centimeters kilometers inch inches foot feet ft yard yards yd mile miles hour hours hr hrs minute minutes min " +
    "second seconds sec day days week weeks month months year years people student students square cubic point points sq " +
    "yuan euro euros pound pounds ounce ounces gallon gallons liter liters litre litres gram grams way ways time times"
  ).split(" "),
);

const patterns: Record<Comma, RegExp> = {
  thousands: /(?:[1-9]\d{0,2}(?:,\d{3})+(?!,?\d)|[1-9]\d{0,2}(?: \d{3})+(?!,?\d)|\d+)(?:\.\d+)?|\.\d+/y,
  list: /\d+(?:\.\d+)?|\.\d+/y,
  decimal: /\d+,\d+|\d+(?:\.\d+)?|\.\d+/y,
};
const command = /\\([A-Za-z]+|.)/y;
const letters = /[A-Za-z]+'*/y;
const style =
  /^(?:text|textbf|textit|textrm|textnormal|mbox|hbox|mathrm|mathbf|mathit|mathsf|mathcal|mathbb|operatorname|boldsymbol|vec|bar|overline|underline|boxed|hat|tilde|overrightarrow)$/;

export function tokenize(text: string, comma: Comma): Token[] {
  const tokens: Token[] = [];
  let at = 0;
  const match = (pattern: RegExp) => {
    pattern.lastIndex = at;
    return pattern.exec(text);
  };
  while (at < text.length) {
    const number = match(patterns[comma]);
    if (number) {
      const digits = comma === "decimal" ? number[0].replace(",", ".") : number[0].replace(/[, ]/g, "");
      tokens.push({ kind: "number", text: digits });
      at += number[0].length;
      continue;
    }
    const word = match(letters);
    if (word) {
      tokens.push(...readLetters(word[0], tokens.at(-1)));
      at += word[0].length;
      continue;
    }
    const named = match(command);
    if (named) {
      at += named[0].length;
      if (style.test(named[1]!)) at = readStyled(text, at, named[1]!, tokens);
      else if (named[1] === "{" || named[1] === "}") tokens.push({ kind: "symbol", text: named[0] });
      else tokens.push({ kind: "command", text: named[1]! });
      continue;
    }
    const character = String.fromCodePoint(text.codePointAt(at)!);
    const kind = character === "π" || character === "∞" ? "name" : "symbol";
    if (character.trim() !== "") tokens.push({ kind, text: character });
    at += character.length;
  }
  return tokens;
}

/** A run of letters: a function, a conjunction, a unit to skip, a word, or variables side by side. */
function readLetters(run: string, before: Token | undefined): Token[] {
  if (FUNCTIONS.has(run) && !(before?.kind === "number" && UNITS.has(run))) return [{ kind: "command", text: run }];
  const lower = run.toLowerCase();
  if (lower === "and" || lower === "or") return [conjunction(lower)];
  if (lower === "pi") return [{ kind: "name", text: "π" }];
  if (lower === "infinity" || lower === "inf") return [{ kind: "name", text: "∞" }];
  if (before?.kind === "number" && UNITS.has(lower)) return [{ kind: "text", text: run }];
  const glued = /^(?:and|or)(?=[A-Zxyz]'*$)/.exec(run); // f(x)=1orf(x)=2
  if (glued && before) return [conjunction(glued[0]), ...readLetters(run.slice(glued[0].length), undefined)];
  const variables = run.replaceAll("'", "").length <= 2 || /^(?:[A-Z]{1,4}|[abckmnxyz]+)'*$/.test(run);
  if (!variables) return [{ kind: "word", text: run }];
  return (run.match(/[A-Za-z]'*/g) ?? []).map((letter) => ({ kind: "name", text: letter }));
}

/** \text{...}: a conjunction, a word, or mathematics in another type face. Returns where it ends. */
function readStyled(text: string, start: number, face: string, tokens: Token[]): number {
  const open = /\s*\{/y;
  open.lastIndex = start;
  if (!open.test(text)) return start;
  let depth = 1;
  let end = open.lastIndex;
  for (; end < text.length && depth > 0; end++) {
    if (text[end] === "\\") end++;
    else if (text[end] === "{") depth++;
    else if (text[end] === "}") depth--;
  }
  const content = text.slice(open.lastIndex, depth === 0 ? end - 1 : end).trim();
  if (/^,?\s*(?:and|or)\s*,?$|^,$/i.test(content)) tokens.push(conjunction(content));
  else if (/^[A-Za-z]$/.test(content))
    tokens.push({ kind: "name", text: face === "mathbb" ? `mathbb ${content}` : content });
  else if (/^\(?[A-Za-z]\)?$/.test(content)) tokens.push({ kind: "name", text: content.replace(/[()]/g, "") });
  else if (face === "boxed" || /^[-+*/^\d\s.,()]+$/.test(content)) tokens.push(...tokenize(content, "list"));
  else if (content !== "") tokens.push({ kind: "text", text: content.replace(/\s+/g, " ").toLowerCase() });
  return end;
}
