// Jinja as transformers runs it, where @huggingface/jinja gives another text: its parser, and its interpreter changed in
//  - line ends of a template: all become \n;
//  - loops: what one turn sets is gone in the next; `continue` and `break` keep what the turn has written; texts and
//    what is not defined can be gone through;
//  - ==, != and `in`: by value and type, as in Python ("" is not false, 1 is true, lists and mappings by what they hold);
//  - what is written of none, true, false, lists and mappings; a text + something else, an error; % of whole numbers;
//  - strip, lstrip and rstrip, which take characters, trim, split, title, capitalize and length: see python-text.ts;
//  - selectattr and rejectattr, which also test what an item lacks; filters of what is not defined;
//  - an attribute of what is not defined, an error;
//  - what every template is given: see jinja-globals.ts.
// What it may take of time and memory is limited: see jinja-limits.ts.
import { Interpreter, parse, tokenize } from "@huggingface/jinja";
import { GLOBALS } from "./jinja-globals.js";
import { JinjaLimits } from "./jinja-limits.js";
import {
  assign,
  byPlace,
  constant,
  equal,
  isList,
  isMapping,
  isText,
  isUndefined,
  isWhole,
  items,
  listOf,
  mappingOf,
  modulo,
  type Node,
  name,
  newScope,
  type Scope,
  shown,
  toValue,
  type Value,
  written,
} from "./jinja-values.js";
import { capitalize, lengthOf, strip, title, words } from "./python-text.js";

const Base = Interpreter as unknown as new (scope: Scope) => Evaluator;

interface Evaluator {
  run(program: Node): Value;
  evaluate(node: Node | undefined, scope: Scope): Value;
}

/** Letters of a template; published ones have some ten thousand. Its parser takes seconds for as many spaces. */
const LONGEST = 2 ** 17;

/** A template that can be rendered again and again. Throws where it is none. */
export function compileTemplate(source: string): (variables: Readonly<Record<string, unknown>>) => string {
  if (source.length > LONGEST) throw new Error(`expected at most ${LONGEST} letters, found ${source.length}`);
  const tokens = tokenize(source.replace(/\r\n?/g, "\n"), { lstrip_blocks: true, trim_blocks: true });
  const program = parse(tokens) as unknown as Node;
  return (variables) => {
    const scope = new newScope();
    for (const [name, value] of Object.entries({ ...GLOBALS, ...variables })) scope.set(name, value);
    return String(new PythonInterpreter(scope).run(program).value);
  };
}

/** `break` or `continue` on its way to its loop, with what the turn has written so far. */
class LoopControl extends Error {
  text = "";
  constructor(readonly ends: boolean) {
    super("expected break and continue in a loop");
  }
}

/** What makes texts; the rest finds them. What blocks write is counted there. */
const MAKE = new Set<string | undefined>(["BinaryExpression", "CallExpression", "FilterExpression"]);

/** Steps in whose time a turn of a loop begins. */
const TURN = 4;

class PythonInterpreter extends Base {
  readonly #limits = new JinjaLimits();

  override evaluate(node: Node | undefined, scope: Scope): Value {
    if (node?.type === "Value") return node.value as Value;
    this.#limits.step();
    const value = this.#evaluate(node, scope);
    if (!value) return value; // the first of an empty list
    this.#limits.take(value);
    if (MAKE.has(node?.type) && isText(value)) this.#limits.write(value.value.length);
    return value;
  }

  /** Of the package's own: of a macro, a call and a set. */
  evaluateBlock(statements: unknown, scope: Scope): Value {
    return toValue(this.#block(statements, scope));
  }

  #evaluate(node: Node | undefined, scope: Scope): Value {
    switch (node?.type) {
      case "Program":
        return toValue(this.#block(node.body, scope));
      case "If": {
        const met = this.#of(node.test, scope).__bool__().value;
        return toValue(this.#block(met ? node.body : node.alternate, scope));
      }
      case "For":
        return toValue(this.#loop(node, scope));
      case "Break":
      case "Continue":
        throw new LoopControl(node.type === "Break");
      case "BinaryExpression":
        return this.#binary(node, scope);
      case "MemberExpression": {
        const object = this.#of(node.object, scope);
        if (isUndefined(object)) throw new Error(`${name(node.object)} is not defined`);
        return super.evaluate({ ...node, object: constant(object) }, scope);
      }
      case "CallExpression":
        return this.#call(node, scope);
      case "FilterExpression":
        return this.#filter(node, scope);
      default:
        return super.evaluate(node, scope);
    }
  }

  #of(node: unknown, scope: Scope): Value {
    return this.evaluate(node as Node, scope);
  }

  /** What statements write. */
  #block(statements: unknown, scope: Scope): string {
    let text = "";
    for (const statement of statements as Node[]) {
      try {
        const value = this.evaluate(statement, scope);
        this.#limits.through(value);
        const piece = shown(value, statement);
        this.#limits.write(piece.length);
        text += piece;
      } catch (error) {
        if (error instanceof LoopControl) error.text = text + error.text;
        throw error;
      }
    }
    return text;
  }

  #loop(node: Node, scope: Scope): string {
    const iterable = node.iterable as Node;
    const filtered = iterable.type === "SelectExpression";
    const nothing = toValue(undefined);
    const through = items(this.#of(filtered ? iterable.lhs : iterable, scope), this.#limits);
    this.#limits.step(TURN * through.length);
    const turns = through.map((item) => {
      const turn = new newScope(scope);
      assign(turn, node.loopvar as Node, item);
      return { item, turn };
    });
    const taken = filtered ? turns.filter(({ turn }) => this.#of(iterable.test, turn).__bool__().value) : turns;
    let [text, wholeTurns] = ["", 0];
    for (const [i, { turn }] of taken.entries()) {
      turn.setVariable(
        "loop",
        mappingOf({
          index: toValue(i + 1),
          index0: toValue(i),
          revindex: toValue(taken.length - i),
          revindex0: toValue(taken.length - i - 1),
          first: toValue(i === 0),
          last: toValue(i === taken.length - 1),
          length: toValue(taken.length),
          previtem: taken[i - 1]?.item ?? nothing,
          nextitem: taken[i + 1]?.item ?? nothing,
        }),
      );
      try {
        text += this.#block(node.body, turn);
        ++wholeTurns;
      } catch (error) {
        if (!(error instanceof LoopControl)) throw error;
        text += error.text;
        if (error.ends) break;
      }
    }
    return wholeTurns > 0 ? text : text + this.#block(node.defaultBlock, new newScope(scope));
  }

  #binary(node: Node, scope: Scope): Value {
    const operator = (node.operator as { value: string }).value;
    if (!["+", "~", "%", "==", "!=", "in", "not in"].includes(operator)) return super.evaluate(node, scope);
    const [left, right] = [this.#of(node.left, scope), this.#of(node.right, scope)];
    if (operator === "+" && isText(left) !== isText(right)) throw new Error("expected texts on both sides of +");
    if (operator === "==" || operator === "!=") return toValue(this.#equal(left, right) === (operator === "=="));
    if (operator === "~") {
      for (const side of [left, right]) this.#limits.through(side);
      return toValue(written(left) + written(right));
    }
    if (operator === "%" && isWhole(left) && isWhole(right)) return toValue(modulo(left.value, right.value));
    if (["+", "%"].includes(operator) || !isList(right)) {
      return super.evaluate({ ...node, left: constant(left), right: constant(right) }, scope);
    }
    return toValue(right.value.some((item) => this.#equal(item, left)) === (operator === "in"));
  }

  #equal(left: Value, right: Value): boolean {
    return equal(left, right, () => this.#limits.step());
  }

  #call(node: Node, scope: Scope): Value {
    const callee = node.callee as Node;
    if (callee.type !== "MemberExpression" || callee.computed) return super.evaluate(node, scope);
    const object = this.#of(callee.object, scope);
    const args = this.#given(node.args, scope);
    if (isText(object)) {
      const method = name(callee.property);
      this.#limits.before(method, object, args);
      const found = textMethod(object.value, method, byPlace(args));
      if (Array.isArray(found)) this.#limits.items(found.length);
      if (found !== undefined) return toValue(found);
    }
    return super.evaluate({ ...node, args, callee: { ...callee, object: constant(object) } }, scope);
  }

  #filter(node: Node, scope: Scope): Value {
    const operand = this.#of(node.operand, scope);
    const called = (node.filter as Node).type === "CallExpression";
    const which = name(called ? (node.filter as Node).callee : node.filter);
    if (isUndefined(operand)) {
      if (["trim", "upper", "lower", "title", "capitalize", "join"].includes(which)) return toValue("");
      if (["list", "items"].includes(which)) return toValue([]);
      if (which === "length") return toValue(0);
    }
    if (["selectattr", "rejectattr", "map"].includes(which) && !operand.__bool__().value) return toValue([]);
    const args = this.#given(called ? (node.filter as Node).args : [], scope);
    this.#limits.before(which, operand, args);
    if (which === "string") return toValue(written(operand));
    if (which === "selectattr" || which === "rejectattr") {
      const test = this.#attributeTest(byPlace(args), scope);
      return listOf(items(operand, this.#limits).filter((item) => test(item) === (which === "selectattr")));
    }
    if (isText(operand)) {
      if (which === "trim") return toValue(textMethod(operand.value, "strip", byPlace(args)));
      if (which === "length") return toValue(lengthOf(operand.value));
      if (which === "title" || which === "capitalize") return toValue(textMethod(operand.value, which, []));
    }
    const filter = called ? { ...(node.filter as Node), args } : node.filter;
    return super.evaluate({ ...node, filter, operand: constant(operand) }, scope);
  }

  /** Arguments as nodes that hold their values; what stands after * and ** one by one. */
  #given(args: unknown, scope: Scope): Node[] {
    return (args as Node[]).flatMap((argument) => {
      if (argument.type === "KeywordArgumentExpression") {
        return { ...argument, value: constant(this.#of(argument.value, scope)) };
      }
      if (argument.type === "SpreadExpression")
        return items(this.#of(argument.argument, scope), this.#limits).map(constant);
      if (argument.type !== "KeywordSpreadExpression") return constant(this.#of(argument, scope));
      const named = this.#of(argument.argument, scope);
      if (!isMapping(named)) throw new Error(`expected a mapping after **, found ${named.type}`);
      return [...named.value].map(([value, item]) => {
        return { type: "KeywordArgumentExpression", key: { value }, value: constant(item) };
      });
    });
  }

  /** Of `selectattr(attribute)`, which asks whether it is true, or `selectattr(attribute, test, value)`. */
  #attributeTest([attribute, test, value]: readonly Value[], scope: Scope): (item: Value) => boolean {
    const of = (item: Value) =>
      (isMapping(item) ? item.value.get(String(attribute?.value)) : undefined) ?? toValue(undefined);
    if (!test) return (item) => of(item).__bool__().value;
    const asked = String(test.value);
    if (value && ["equalto", "eq", "=="].includes(asked)) return (item) => this.#equal(of(item), value);
    const holds = scope.tests.get(asked);
    if (!holds) throw new Error(`unknown test: ${asked}`);
    return (item) => holds(of(item));
  }
}

/** What Python does here, where the package does something else. */
function textMethod(text: string, method: string, args: readonly Value[]): string | string[] | undefined {
  const ends = ({ strip: "both", lstrip: "left", rstrip: "right" } as const)[method as "strip"];
  if (ends) {
    const [characters] = args;
    return strip(text, ends, characters && isText(characters) ? characters.value : undefined);
  }
  if (method === "split" && args.length === 0) return words(text);
  if (method === "title") return title(text);
  return method === "capitalize" ? capitalize(text) : undefined;
}
