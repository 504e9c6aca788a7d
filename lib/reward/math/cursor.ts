import type { Token } from "./tokens.js";

/** What a text that cannot be read ends with. */
export class Unreadable extends Error {}

const CLOSERS = new Set([")", "]", "}", "\\}"]);

/** The tokens of a text and the place up to which they are read. */
export class Cursor {
  /** Bars |...| that are open: inside, the next bar closes. */
  bars = 0;
  readonly #tokens: Token[];
  #at = 0;

  constructor(tokens: Token[]) {
    this.#tokens = tokens;
  }

  get done(): boolean {
    return this.#at >= this.#tokens.length;
  }

  /** Whether an operand begins here. */
  starts(): boolean {
    const token = this.peek();
    if (!token) return false;
    if (token.kind !== "symbol") return !(token.kind === "command" && token.text === "end");
    if (token.text === "|") return this.bars === 0;
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

  /** The next token, which stays. */
  peek(): Token | undefined {
    return this.#tokens[this.#at];
  }

  /** The next token where it is a symbol, else "". */
  symbol(): string {
    const token = this.#tokens[this.#at];
    return token?.kind === "symbol" ? token.text : "";
  }

  /** Reads this symbol, where it is next. */
  take(symbol: string): boolean {
    if (this.symbol() !== symbol) return false;
    this.#at++;
    return true;
  }

  expect(symbol: string): void {
    if (!this.take(symbol)) throw new Unreadable();
  }

  /** Reads a token. Throws Unreadable at the end, as `expect` does where another one is next. */
  next(): Token {
    const token = this.#tokens[this.#at++];
    if (!token) throw new Unreadable();
    return token;
  }

  /** Reads all up to this symbol, and it. Throws Unreadable where it does not come. */
  skip(symbol: string): void {
    while (this.symbol() !== symbol) this.next();
    this.next();
  }

  /** Reads the first digit of `number`, which is next: the others stay. */
  digit(number: Token): string {
    this.#tokens[this.#at] = { kind: "number", text: number.text.slice(1) };
    return number.text[0]!;
  }

  /** Reads with no bar open: inside brackets, a bar opens. */
  unbarred<T>(read: () => T): T {
    const { bars } = this;
    this.bars = 0;
    const result = read();
    this.bars = bars;
    return result;
  }
}
