// Jinja as transformers runs it, where @huggingface/jinja gives another text: its parser, and its interpreter changed in
//  - line ends of a template: all become \n;
//  - loops: what one turn sets is gone in the next; `continue` and `break` keep what the turn has written; texts and
//    what is not defined can be gone through;
//  - ==, != and `in`: by value and type, as in Python ("" is not false, 1 is true, lists and mappings by what they hold);
//  - what is written of none, true and false; a text + something else, an error;
//  - strip, lstrip and rstrip, which take characters, trim, split, title, capitalize and length: see python-text.ts;
//  - selectattr and rejectattr, which also test what an item lacks; filters of what is not defined;
//  - an attribute of what is not defined, an error;
//  - strftime_now: English names whatever the system's language.
import { Environment, Interpreter, parse, tokenize } from "@huggingface/jinja";
import { capitalize, strftime, strip, title, words } from "./python-text.js";

/** What is asked of the package's classes: their own types do not resolve under `nodenext`. */
interface Value {
  readonly type: string;
  readonly value: unknown;
  __bool__(): { readonly value: boolean };
}
interface Scope {
  readonly tests: ReadonlyMap<string, (...operands: Value[]) => boolean>;
  set(name: string, value: unknown): Value;
  setVariable(name: string, value: Value): Value;
}
interface Node {
  readonly type: string;
  readonly [part: string]: unknown;
}
interface Evaluator {
  run(program: Node): Value;
  evaluate(node: Node | undefined, scope: Scope): Value;
}
const newScope = Environment as unknown as new (parent?: Scope) => Scope;
const Base = Interpreter as unknown as new (scope: Scope) => Evaluator;

const toValue = (value: unknown): Value => new newScope().set("value", value);
const isText = (value: Value): value is Value & { value: string } => value.type === "StringValue";
const isList = (value: Value): value is Value & { value: Value[] } =>
  value.type === "ArrayValue" || value.type === "TupleValue";
const isMapping = (value: Value): value is Value & { value: Map<string, Value> } => value.type === "ObjectValue";
const isUndefined = (value: Value) => value.type === "UndefinedValue";

/** A template that can be rendered again and again. Throws where it is none. */
export function compileTemplate(source: string): (variables: Readonly<Record<string, unknown>>) => string {
  const tokens = tokenize(source.replace(/\r\n?/g, "\n"), { lstrip_blocks: true, trim_blocks: true });
  const program = parse(tokens) as unknown as Node;
  return (variables) => {
    const scope = new newScope();
    for (const [name, value] of Object.entries({ ...GLOBALS, ...variables })) scope.set(name, value);
    return String(new PythonInterpreter(scope).run(program).value);
  };
}

const GLOBALS: Readonly<Record<string, unknown>> = {
  true: true,
  false: false,
  none: null,
  True: true,
  False: false,
  None: null,
  range,
  raise_exception: (message: string) => {
    throw new Error(message);
  },
  strftime_now: (format: string) => strftime(new Date(), format),
};

/** Of at most as many numbers as Jinja's sandbox allows. */
function range(first: number, end?: number, step = 1): number[] {
  const [start, stop] = end === undefined ? [0, first] : [first, end];
  const length = Math.max(0, Math.ceil((stop - start) / step));
  if (!(length <= 100_000)) throw new Error(`range: expected at most 100000 numbers, found ${length}`);
  return Array.from({ length }, (_, i) => start + i * step);
}

/** `break` or `continue` on its way to its loop, with what the turn has written so far. */
class LoopControl extends Error {
  text = "";
  constructor(readonly ends: boolean) {
    super("expected break and continue in a loop");
  }
}

class PythonInterpreter extends Base {
  override evaluate(node: Node | undefined, scope: Scope): Value {
    switch (node?.type) {
      case "Value":
        return node.value as Value;
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
        text += shown(this.evaluate(statement, scope), statement);
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
    const turns = items(this.#of(filtered ? iterable.lhs : iterable, scope)).map((item) => {
      const turn = new newScope(scope);
      assign(turn, node.loopvar as Node, item);
      return { item, turn };
    });
    const taken = filtered ? turns.filter(({ turn }) => this.#of(iterable.test, turn).__bool__().value) : turns;
    let [text, wholeTurns] = ["", 0];
    for (const [i, { turn }] of taken.entries()) {
      const loop = toValue({
        index: i + 1,
        index0: i,
        revindex: taken.length - i,
        revindex0: taken.length - i - 1,
        first: i === 0,
        last: i === taken.length - 1,
        length: taken.length,
      });
      const beside = loop.value as Map<string, Value>;
      beside.set("previtem", taken[i - 1]?.item ?? toValue(undefined));
      beside.set("nextitem", taken[i + 1]?.item ?? toValue(undefined));
      turn.setVariable("loop", loop);
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
    if (!["+", "==", "!=", "in", "not in"].includes(operator)) return super.evaluate(node, scope);
    const [left, right] = [this.#of(node.left, scope), this.#of(node.right, scope)];
    if (operator === "+" && isText(left) !== isText(right)) throw new Error("expected texts on both sides of +");
    if (operator === "==" || operator === "!=") return toValue(equal(left, right) === (operator === "=="));
    if (operator === "+" || !isList(right)) {
      return super.evaluate({ ...node, left: constant(left), right: constant(right) }, scope);
    }
    return toValue(right.value.some((item) => equal(item, left)) === (operator === "in"));
  }

  #call(node: Node, scope: Scope): Value {
    const callee = node.callee as Node;
    if (callee.type !== "MemberExpression" || callee.computed) return super.evaluate(node, scope);
    const object = this.#of(callee.object, scope);
    if (isText(object)) {
      const args = (node.args as Node[]).map((argument) => this.#of(argument, scope));
      const found = textMethod(object.value, name(callee.property), args);
      if (found !== undefined) return toValue(found);
    }
    return super.evaluate({ ...node, callee: { ...callee, object: constant(object) } }, scope);
  }

  #filter(node: Node, scope: Scope): Value {
    const operand = this.#of(node.operand, scope);
    const filter = node.filter as Node;
    const called = filter.type === "CallExpression";
    const which = name(called ? filter.callee : filter);
    const args = () => (called ? (filter.args as Node[]) : []).map((argument) => this.#of(argument, scope));
    if (isUndefined(operand)) {
      if (["trim", "upper", "lower", "title", "capitalize", "string", "join"].includes(which)) return toValue("");
      if (["list", "items"].includes(which)) return toValue([]);
      if (which === "length") return toValue(0);
    }
    if (["selectattr", "rejectattr", "map"].includes(which) && !operand.__bool__().value) return toValue([]);
    if (which === "selectattr" || which === "rejectattr") {
      const test = attributeTest(args(), scope);
      return listOf(items(operand).filter((item) => test(item) === (which === "selectattr")));
    }
    if (isText(operand)) {
      if (which === "trim") return toValue(textMethod(operand.value, "strip", args()));
      if (which === "length") return toValue([...operand.value].length);
      if (which === "title" || which === "capitalize") return toValue(textMethod(operand.value, which, []));
    }
    return super.evaluate({ ...node, operand: constant(operand) }, scope);
  }
}

const WRITE_NOTHING = ["Set", "Macro", "Comment"];

function shown(value: Value, statement: Node): string {
  if (isUndefined(value) || WRITE_NOTHING.includes(statement.type)) return "";
  if (value.type === "NullValue") return "None";
  return value.type === "BooleanValue" ? capitalize(String(value)) : String(value);
}

function constant(value: Value): Node {
  return { type: "Value", value };
}

function name(node: unknown): string {
  return String((node as { value?: unknown } | undefined)?.value ?? "value");
}

function listOf(values: readonly Value[]): Value {
  const list = toValue([]);
  (list.value as Value[]).push(...values);
  return list;
}

/** What a loop goes through: a list's items, a mapping's keys, a text's characters, nothing of what is not defined. */
function items(value: Value): readonly Value[] {
  if (isList(value)) return value.value;
  if (isUndefined(value)) return [];
  if (isText(value)) return [...value.value].map(toValue);
  if (isMapping(value)) return [...value.value.keys()].map(toValue);
  throw new Error(`expected something to go through, found ${value.type}`);
}

/** `for a in ...` or `for a, b in ...`. */
function assign(scope: Scope, target: Node, item: Value): void {
  if (target.type === "Identifier") {
    scope.setVariable(name(target), item);
    return;
  }
  const [names, values] = [target.value as Node[], items(item)];
  if (names.length !== values.length) throw new Error(`expected ${names.length} items, found ${values.length}`);
  for (const [i, variable] of names.entries()) scope.setVariable(name(variable), values[i]!);
}

function equal(left: Value, right: Value): boolean {
  if (isNumber(left) && isNumber(right)) return Number(left.value) === Number(right.value);
  if (isList(left) && isList(right)) {
    return left.value.length === right.value.length && left.value.every((item, i) => equal(item, right.value[i]!));
  }
  if (isMapping(left) && isMapping(right)) {
    const other = right.value;
    if (left.value.size !== other.size) return false;
    return [...left.value].every(([key, item]) => other.has(key) && equal(item, other.get(key)!));
  }
  return left.type === right.type && left.value === right.value;
}

function isNumber({ type }: Value): boolean {
  return type === "IntegerValue" || type === "FloatValue" || type === "BooleanValue";
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

/** Of `selectattr(attribute)`, which asks whether it is true, or `selectattr(attribute, test, value)`. */
function attributeTest([attribute, test, value]: readonly Value[], scope: Scope): (item: Value) => boolean {
  const of = (item: Value) =>
    (isMapping(item) ? item.value.get(String(attribute?.value)) : undefined) ?? toValue(undefined);
  if (!test) return (item) => of(item).__bool__().value;
  const asked = String(test.value);
  if (value && ["equalto", "eq", "=="].includes(asked)) return (item) => equal(of(item), value);
  const holds = scope.tests.get(asked);
  if (!holds) throw new Error(`unknown test: ${asked}`);
  return (item) => holds(of(item));
}
