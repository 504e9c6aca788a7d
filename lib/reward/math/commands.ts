/** What LaTeX's commands take, and functions by their names: \frac, \sqrt, \sin, \sum, matrices. */
import { type Cursor, Unreadable } from "./cursor.js";
import { apply, type Expression, keyOf, name } from "./expression.js";
import { ROW_END } from "./spelling.js";
import { FUNCTIONS } from "./tokens.js";

/** The levels of precedence that commands read their parts at (parse.ts). */
export interface Grammar {
  readonly cursor: Cursor;
  relation(): Expression;
  product(): Expression;
  power(): Expression;
  atom(): Expression;
  exponent(): Expression;
  /** {...}, or one digit, letter or command. */
  argument(): Expression;
  /** Up to this bracket. */
  braced(close: string): Expression;
  /** A sign and what it belongs to. */
  signed(operand: () => Expression): Expression;
}

/** What follows the command that was just read. Throws Unreadable. */
export function readCommand(command: string, grammar: Grammar): Expression {
  const { cursor } = grammar;
  switch (command) {
    case "frac": {
      const numerator = grammar.argument();
      return apply("/", numerator, grammar.argument());
    }
    case "binom": {
      const upper = grammar.argument();
      return apply("binom", upper, grammar.argument());
    }
    case "sqrt": {
      const index = cursor.take("[") ? grammar.braced("]") : null;
      const radicand = cursor.symbol() === "{" ? grammar.argument() : grammar.atom();
      return index ? apply("root", radicand, index) : apply("sqrt", radicand);
    }
    case "begin":
      return matrix(grammar);
    case "sum":
    case "prod":
    case "int":
    case "lim":
      return big(command, grammar);
    default:
      return FUNCTIONS.has(command) ? call(command, grammar) : name(`\\${command}`);
  }
}

/** \sin^2 x, \log_2 8, \tan(y), \sin 2x \cos y. */
function call(command: string, grammar: Grammar): Expression {
  const { cursor } = grammar;
  let exponent: Expression | null = null;
  let base: Expression | null = null;
  while (cursor.symbol() === "^" || cursor.symbol() === "_") {
    if (cursor.next().text === "^") exponent = grammar.exponent();
    else base = grammar.argument();
  }
  const value = callArgument(grammar);
  const args = value.kind === "group" ? value.items : [value];
  if (args.length === 0) throw new Unreadable(); // \log_2()
  const inverse = exponent && keyOf(exponent) === "neg(1)" && /^(?:sin|cos|tan)$/.test(command);
  const result = base ? apply("log", args[0]!, base) : apply(inverse ? `arc${command}` : command, ...args);
  return exponent && !inverse ? apply("^", result, exponent) : result;
}

function callArgument(grammar: Grammar): Expression {
  const { cursor } = grammar;
  if (cursor.symbol() === "(" || cursor.symbol() === "{") return grammar.atom();
  let value = grammar.signed(() => grammar.power());
  for (;;) {
    const token = cursor.peek();
    const goesOn = token && (token.kind === "number" || token.kind === "name" || token.text === "frac");
    if (!goesOn) return value;
    value = apply("*", value, grammar.power());
  }
}

/** Sums, integrals and limits are what they are written as: bounds and body. */
function big(command: string, grammar: Grammar): Expression {
  const { cursor } = grammar;
  const bounds: Expression[] = [];
  while (cursor.symbol() === "^" || cursor.symbol() === "_") {
    const place = cursor.next().text;
    bounds.push(apply(place === "^" ? "upper" : "lower", grammar.argument()));
  }
  return apply(command, ...bounds, grammar.product());
}

/** \begin{pmatrix} a & b \\ c & d \end{pmatrix}: "&" has become a conjunction in spelling only where it was escaped. */
function matrix(grammar: Grammar): Expression {
  const { cursor } = grammar;
  cursor.expect("{");
  cursor.skip("}"); // its name
  if (cursor.take("{")) cursor.skip("}"); // how its columns stand
  const rows: Expression[][] = [[]];
  for (;;) {
    const token = cursor.peek();
    if (token?.kind === "command" && token.text === "end") break;
    if (cursor.take("&")) continue;
    if (cursor.take(ROW_END)) rows.push([]);
    else rows.at(-1)!.push(grammar.relation());
  }
  cursor.next();
  cursor.expect("{");
  cursor.skip("}");
  return { kind: "matrix", rows: rows.filter((row) => row.length > 0) };
}
