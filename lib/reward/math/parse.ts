/**
 * Reads mathematics as answers write it: LaTeX or plain, with lists, relations, sets, intervals and matrices, loosely
 * (\frac34, 2\frac12, sin^2 x, 2x(x+1)). By recursive descent, one function a level of precedence, loosest first.
 */
import { type Grammar, readCommand } from "./commands.js";
import { Cursor, Unreadable } from "./cursor.js";
import { apply, type Expression, keyOf, name, number } from "./expression.js";
import { oneSpelling } from "./spelling.js";
import { type Comma, type Token, tokenize } from "./tokens.js";

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

const SIGNS = new Set(["=", "≈", "<", ">", "≤", "≥", "≠", "∈"]);

class Parser implements Grammar {
  readonly cursor: Cursor;
  #depth = 0;

  constructor(tokens: Token[]) {
    this.cursor = new Cursor(tokens);
  }

  whole(): Expression {
    const result = this.#list();
    if (!this.cursor.done) throw new Unreadable();
    return result;
  }

  /** a, b; c and d. With both separators the commas bind closer: p = 5, q = 2; p = 7, q = 2. */
  #list(): Expression {
    const groups: Expression[][] = [[]];
    let either = false;
    for (;;) {
      either ||= this.cursor.peek()?.or === true;
      if (this.cursor.take(",")) continue;
      if (this.cursor.take(";")) {
        if (groups.at(-1)!.length > 0) groups.push([]);
        continue;
      }
      if (!this.cursor.starts()) break;
      groups.at(-1)!.push(this.relation());
    }
    const filled = groups.filter((group) => group.length > 0);
    if (filled.length === 0) throw new Unreadable();
    const nested = filled.length > 1 && filled.some((group) => group.length > 1);
    const items = nested
      ? filled.map((group): Expression => ({ kind: "group", open: "(", close: ")", items: group }))
      : filled.flat();
    return items.length === 1 ? items[0]! : { kind: "list", items, either };
  }

  relation(): Expression {
    const sides: Expression[] = [];
    const signs: string[] = [];
    if (!SIGNS.has(this.cursor.symbol())) sides.push(this.#ratio());
    else if (this.cursor.symbol() !== "=" && this.cursor.symbol() !== "≈") throw new Unreadable();
    while (SIGNS.has(this.cursor.symbol())) {
      const sign = this.cursor.next().text;
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
    while (operators.includes(this.cursor.symbol())) left = apply(this.cursor.next().text, left, operand());
    return left;
  }

  #sum(): Expression {
    let left = this.signed(() => this.product());
    while (["+", "-", "±", "∓"].includes(this.cursor.symbol()))
      left = apply(this.cursor.next().text, left, this.product());
    return left;
  }

  /** A sign and what it belongs to. */
  signed(operand: () => Expression): Expression {
    const sign = this.cursor.symbol();
    if (sign === "+") {
      this.cursor.next();
      return this.signed(operand);
    }
    if (sign !== "-" && sign !== "±" && sign !== "∓") return operand();
    this.cursor.next();
    const value = this.#deeper(() => this.signed(operand));
    return sign === "-" ? apply("neg", value) : apply(sign, number("0"), value);
  }

  product(): Expression {
    let left = this.power();
    for (;;) {
      if (this.cursor.symbol() === "*" || this.cursor.symbol() === "/") {
        left = apply(
          this.cursor.next().text,
          left,
          this.signed(() => this.power()),
        );
      } else if (this.cursor.peek()?.kind === "text") {
        this.power(); // a unit or a remark, exponent and all
      } else if (this.cursor.starts()) {
        if (left.kind === "number" && this.cursor.peek()?.kind === "number") throw new Unreadable(); // 4 5 is not 20
        const mixed = this.cursor.peek()?.text === "frac" && left.kind === "number" && /^\d+$/.test(left.text);
        const right = this.power();
        left = apply(mixed && isPlainFraction(right) ? "+" : "*", left, right);
      } else return left;
    }
  }

  power(): Expression {
    let base = this.atom();
    for (;;) {
      const sign = this.cursor.symbol();
      if (sign === "^") {
        this.cursor.next();
        base = apply("^", base, this.exponent());
      } else if (sign === "_") {
        this.cursor.next();
        const index = this.argument();
        base = base.kind === "number" ? apply("base", base, index) : name(`${keyOf(base)}_${keyOf(index)}`);
        if (this.#isCall(base)) base = this.#call(base);
      } else if (sign === "!") {
        this.cursor.next();
        base = apply("!", base);
      } else return base;
    }
  }

  exponent(): Expression {
    if (this.cursor.symbol() === "{") return this.argument();
    return this.#deeper(() => this.signed(() => this.atom()));
  }

  atom(): Expression {
    return this.#deeper(() => this.#plainAtom());
  }

  #plainAtom(): Expression {
    const token = this.cursor.next();
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
        return readCommand(token.text, this);
      default:
        return this.#bracket(token.text);
    }
  }

  #bracket(open: string): Expression {
    if (open === "|") {
      this.cursor.bars++;
      const inside = this.#sum();
      this.cursor.expect("|");
      this.cursor.bars--;
      return apply("abs", inside);
    }
    if (open === "{") return this.braced("}");
    if (open === "\\{") {
      const items = this.#items();
      this.cursor.expect("\\}");
      return { kind: "group", open: "{", close: "}", items };
    }
    if (open !== "(" && open !== "[") throw new Unreadable();
    const items = this.cursor.unbarred(() => this.#items());
    const close = this.cursor.next().text;
    if (close !== ")" && close !== "]") throw new Unreadable();
    const alone = items.length === 1 && (open === "(") === (close === ")");
    return alone ? items[0]! : { kind: "group", open, close, items };
  }

  /** What stands in brackets, separated by commas or semicolons. */
  #items(): Expression[] {
    const items: Expression[] = [];
    while (this.cursor.take(",") || this.cursor.take(";") || this.cursor.starts()) {
      if (this.cursor.starts()) items.push(this.relation());
    }
    return items;
  }

  braced(close: string): Expression {
    const inside = this.cursor.unbarred(() => this.#list());
    this.cursor.expect(close);
    return inside;
  }

  /** What a command takes: {...}, or one digit, letter or command. */
  argument(): Expression {
    if (this.cursor.take("{")) return this.braced("}");
    const token = this.cursor.peek();
    if (token?.kind === "number" && /^\d./.test(token.text)) {
      return number(this.cursor.digit(token));
    }
    return this.signed(() => this.atom());
  }

  /** f(x), g'(2), h_1(x): other letters before a bracket are factors. */
  #isCall(named: Expression): boolean {
    return named.kind === "name" && /^[fghFG]'*(?:_|$)/.test(named.name) && this.cursor.symbol() === "(";
  }

  #call(named: Expression): Expression {
    const args = this.atom();
    return apply(`call ${keyOf(named)}`, ...(args.kind === "group" ? args.items : [args]));
  }

  #deeper<T>(read: () => T): T {
    if (++this.#depth > MAX_DEPTH) throw new Unreadable();
    const result = read();
    this.#depth--;
    return result;
  }
}

function isPlainFraction(node: Expression): boolean {
  return node.kind === "apply" && node.op === "/" && node.args.every((part) => part.kind === "number");
}
