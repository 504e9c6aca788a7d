/**
 * Reads mathematics as answers write it: LaTeX or plain, with lists, relations, sets, intervals and matrices, loosely
 * (\frac34, 2\frac12, sin^2 x, 2x(x+1)). By recursive descent, one function a level of precedence, loosest first.
 */
import { apply, type Expression, keyOf, name, number } from "./expression.js";
import { oneSpelling, ROW_END } from "./spelling.js";
import { type Comma, FUNCTIONS, type Token, tokenize } from "./tokens.js";

const MAX_LENGTH = 1500;
const MAX_DEPTH = 60;

/** The tree of a text, or null for one that is too long or says nothing that can be read. */
export function parseMath(text: string, comma: Comma): Expression | null {
  if (text.length > MAX_LENGTH) return null;
  const parser = new Parser(tokenize(oneSpelling(text), comma));
  try {
    return parser.whole();
  } catch (error) {
    if (error instanceof Unreadable) return null;
    throw error;
  }
}

class Unreadable extends Error {}

const SIGNS = new Set(["=", "≈", "<", ">", "≤", "≥", "≠", "∈"]);
const CLOSERS = new Set([")", "]", "}", "\\}"]);

class Parser {
  #tokens: Token[];
  #at = 0;
  #depth = 0;
  /** Bars |...| that are open: inside, the next bar closes. */
  #bars = 0;

  constructor(tokens: Token[]) {
    this.#tokens = tokens;
  }

  whole(): Expression {
    const result = this.#list();
    if (this.#at < this.#tokens.length) throw new Unreadable();
    return result;
  }

  /** a, b; c and d. With both separators the commas bind closer: p = 5, q = 2; p = 7, q = 2. */
  #list(): Expression {
    const groups: Expression[][] = [[]];
    let either = false;
    for (;;) {
      either ||= this.#peek()?.or === true;
      if (this.#take(",")) continue;
      if (this.#take(";")) {
        if (groups.at(-1)!.length > 0) groups.push([]);
        continue;
      }
      if (!this.#starts()) break;
      groups.at(-1)!.push(this.#relation());
    }
    const filled = groups.filter((group) => group.length > 0);
    if (filled.length === 0) throw new Unreadable();
    const nested = filled.length > 1 && filled.some((group) => group.length > 1);
    const items = nested
      ? filled.map((group): Expression => ({ kind: "group", open: "(", close: ")", items: group }))
      : filled.flat();
    return items.length === 1 ? items[0]! : { kind: "list", items, either };
  }

  #relation(): Expression {
    const sides: Expression[] = [];
    const signs: string[] = [];
    if (!SIGNS.has(this.#symbol())) sides.push(this.#ratio());
    else if (this.#symbol() !== "=" && this.#symbol() !== "≈") throw new Unreadable();
    while (SIGNS.has(this.#symbol())) {
      const sign = this.#next().text;
      if (sides.length > 0) signs.push(sign);
      sides.push(this.#ratio());
    }
    return sides.length === 1 ? sides[0]! : { kind: "relation", sides, signs };
  }

  #ratio(): Expression {
    return this.#chain([":"], () => this.#union());
  }

  #union(): Expression {
    return this.#chain(["∪", "∩", "∖"], () => this.#sum());
  }

  #chain(operators: string[], operand: () => Expression): Expression {
    let left = operand();
    while (operators.includes(this.#symbol())) left = apply(this.#next().text, left, operand());
    return left;
  }

  #sum(): Expression {
    let left = this.#signed(() => this.#product());
    while (["+", "-", "±", "∓"].includes(this.#symbol())) left = apply(this.#next().text, left, this.#product());
    return left;
  }

  /** A sign and what it belongs to. */
  #signed(operand: () => Expression): Expression {
    const sign = this.#symbol();
    if (sign === "+") {
      this.#next();
      return this.#signed(operand);
    }
    if (sign !== "-" && sign !== "±" && sign !== "∓") return operand();
    this.#next();
    const value = this.#deeper(() => this.#signed(operand));
    return sign === "-" ? apply("neg", value) : apply(sign, number("0"), value);
  }

  #product(): Expression {
    let left = this.#power();
    for (;;) {
      if (this.#symbol() === "*" || this.#symbol() === "/") {
        left = apply(
          this.#next().text,
          left,
          this.#signed(() => this.#power()),
        );
      } else if (this.#peek()?.kind === "text") {
        this.#power(); // a unit or a remark, exponent and all
      } else if (this.#starts()) {
        if (left.kind === "number" && this.#peek()?.kind === "number") throw new Unreadable(); // 4 5 is not 20
        const mixed = this.#peek()?.text === "frac" && left.kind === "number" && /^\d+$/.test(left.text);
        const right = this.#power();
        left = apply(mixed && isPlainFraction(right) ? "+" : "*", left, right);
      } else return left;
    }
  }

  #power(): Expression {
    let base = this.#atom();
    for (;;) {
      const sign = this.#symbol();
      if (sign === "^") {
        this.#next();
        base = apply("^", base, this.#exponent());
      } else if (sign === "_") {
        this.#next();
        const index = this.#argument();
        base = base.kind === "number" ? apply("base", base, index) : name(`${keyOf(base)}_${keyOf(index)}`);
        if (this.#isCall(base)) base = this.#call(base);
      } else if (sign === "!") {
        this.#next();
        base = apply("!", base);
      } else return base;
    }
  }

  #exponent(): Expression {
    if (this.#symbol() === "{") return this.#argument();
    return this.#deeper(() => this.#signed(() => this.#atom()));
  }

  #atom(): Expression {
    return this.#deeper(() => this.#plainAtom());
  }

  #plainAtom(): Expression {
    const token = this.#next();
    switch (token.kind) {
      case "number":
        return number(token.text);
      case "word":
      case "text":
        return name(token.text);
      case "name": {
        const named = name(token.text);
        return this.#isCall(named) ? this.#call(named) : named;
      }
      case "command":
        return this.#command(token.text);
      default:
        return this.#bracket(token.text);
    }
  }

  #bracket(open: string): Expression {
    if (open === "|") {
      this.#bars++;
      const inside = this.#sum();
      this.#expect("|");
      this.#bars--;
      return apply("abs", inside);
    }
    if (open === "{") return this.#braced("}");
    if (open === "\\{") {
      const items = this.#items();
      this.#expect("\\}");
      return { kind: "group", open: "{", close: "}", items };
    }
    if (open !== "(" && open !== "[") throw new Unreadable();
    const bars = this.#bars;
    this.#bars = 0;
    const items = this.#items();
    this.#bars = bars;
    const close = this.#next().text;
    if (close !== ")" && close !== "]") throw new Unreadable();
    const alone = items.length === 1 && (open === "(") === (close === ")");
    return alone ? items[0]! : { kind: "group", open, close, items };
  }

  /** What stands in brackets, separated by commas or semicolons. */
  #items(): Expression[] {
    const items: Expression[] = [];
    while (this.#take(",") || this.#take(";") || this.#starts()) {
      if (this.#starts()) items.push(this.#relation());
    }
    return items;
  }

  #braced(close: string): Expression {
    const bars = this.#bars;
    this.#bars = 0;
    const inside = this.#list();
    this.#bars = bars;
    this.#expect(close);
    return inside;
  }

  /** What a command takes: {...}, or one digit, letter or command. */
  #argument(): Expression {
    if (this.#take("{")) return this.#braced("}");
    const token = this.#peek();
    if (token?.kind === "number" && /^\d./.test(token.text)) {
      this.#tokens[this.#at] = { kind: "number", text: token.text.slice(1) };
      return number(token.text[0]!);
    }
    return this.#signed(() => this.#atom());
  }

  #command(command: string): Expression {
    switch (command) {
      case "frac": {
        const numerator = this.#argument();
        return apply("/", numerator, this.#argument());
      }
      case "binom": {
        const upper = this.#argument();
        return apply("binom", upper, this.#argument());
      }
      case "sqrt": {
        const index = this.#take("[") ? this.#braced("]") : null;
        const radicand = this.#symbol() === "{" ? this.#argument() : this.#atom();
        return index ? apply("root", radicand, index) : apply("sqrt", radicand);
      }
      case "begin":
        return this.#matrix();
      case "sum":
      case "prod":
      case "int":
      case "lim":
        return this.#big(command);
      default:
        return FUNCTIONS.has(command) ? this.#function(command) : name(`\\${command}`);
    }
  }

  /** \sin^2 x, \log_2 8, \tan(y), \sin 2x \cos y. */
  #function(command: string): Expression {
    let exponent: Expression | null = null;
    let base: Expression | null = null;
    while (this.#symbol() === "^" || this.#symbol() === "_") {
      if (this.#next().text === "^") exponent = this.#exponent();
      else base = this.#argument();
    }
    const value = this.#functionArgument();
    const args = value.kind === "group" ? value.items : [value];
    if (args.length === 0) throw new Unreadable(); // \log_2()
    const inverse = exponent && keyOf(exponent) === "neg(1)" && /^(?:sin|cos|tan)$/.test(command);
    const result = base ? apply("log", args[0]!, base) : apply(inverse ? `arc${command}` : command, ...args);
    return exponent && !inverse ? apply("^", result, exponent) : result;
  }

  #functionArgument(): Expression {
    if (this.#symbol() === "(" || this.#symbol() === "{") return this.#atom();
    let value = this.#signed(() => this.#power());
    for (;;) {
      const token = this.#peek();
      const goesOn = token && (token.kind === "number" || token.kind === "name" || token.text === "frac");
      if (!goesOn) return value;
      value = apply("*", value, this.#power());
    }
  }

  /** Sums, integrals and limits are what they are written as: bounds and body. */
  #big(command: string): Expression {
    const bounds: Expression[] = [];
    while (this.#symbol() === "^" || this.#symbol() === "_") {
      const place = this.#next().text;
      bounds.push(apply(place === "^" ? "upper" : "lower", this.#argument()));
    }
    return apply(command, ...bounds, this.#product());
  }

  /** \begin{pmatrix} a & b \\ c & d \end{pmatrix}: "&" has become a conjunction in spelling only where it was escaped. */
  #matrix(): Expression {
    this.#expect("{");
    while (this.#symbol() !== "}") this.#next();
    this.#next();
    if (this.#take("{")) {
      while (this.#symbol() !== "}") this.#next();
      this.#next();
    }
    const rows: Expression[][] = [[]];
    for (;;) {
      const token = this.#peek();
      if (token?.kind === "command" && token.text === "end") break;
      if (this.#take("&")) continue;
      if (this.#take(ROW_END)) rows.push([]);
      else rows.at(-1)!.push(this.#relation());
    }
    this.#next();
    this.#expect("{");
    while (this.#symbol() !== "}") this.#next();
    this.#next();
    return { kind: "matrix", rows: rows.filter((row) => row.length > 0) };
  }

  /** f(x), g'(2), h_1(x): other letters before a bracket are factors. */
  #isCall(named: Expression): boolean {
    return named.kind === "name" && /^[fghFG]'*(?:_|$)/.test(named.name) && this.#symbol() === "(";
  }

  #call(named: Expression): Expression {
    const args = this.#atom();
    return apply(`call ${keyOf(named)}`, ...(args.kind === "group" ? args.items : [args]));
  }

  #deeper<T>(read: () => T): T {
    if (++this.#depth > MAX_DEPTH) throw new Unreadable();
    const result = read();
    this.#depth--;
    return result;
  }

  /** Whether an operand begins here. */
  #starts(): boolean {
    const token = this.#peek();
    if (!token) return false;
    if (token.kind !== "symbol") return !(token.kind === "command" && token.text === "end");
    if (token.text === "|") return this.#bars === 0;
    return ["(", "[", "{", "\\{"].includes(token.text) || (this.#isOpening(token.text) && this.#atListStart());
  }

  /** Signs begin an operand only where none stands before them. */
  #isOpening(text: string): boolean {
    return ["-", "+", "±", "∓", "=", "≈"].includes(text);
  }

  #atListStart(): boolean {
    const before = this.#tokens[this.#at - 1];
    return (
      !before || (before.kind === "symbol" && !CLOSERS.has(before.text) && before.text !== "|" && before.text !== "!")
    );
  }

  #peek(): Token | undefined {
    return this.#tokens[this.#at];
  }

  #symbol(): string {
    const token = this.#tokens[this.#at];
    return token?.kind === "symbol" ? token.text : "";
  }

  #take(symbol: string): boolean {
    if (this.#symbol() !== symbol) return false;
    this.#at++;
    return true;
  }

  #expect(symbol: string): void {
    if (!this.#take(symbol)) throw new Unreadable();
  }

  #next(): Token {
    const token = this.#tokens[this.#at++];
    if (!token) throw new Unreadable();
    return token;
  }
}

function isPlainFraction(node: Expression): boolean {
  return node.kind === "apply" && node.op === "/" && node.args.every((part) => part.kind === "number");
}
