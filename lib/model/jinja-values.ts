// The values, scopes and syntax trees of @huggingface/jinja, and what Python does with them.
import { Environment } from "@huggingface/jinja";
import { quoted } from "./python-text.js";

/** What is asked of the package's classes: their own types do not resolve under `nodenext`. */
export interface Value {
  readonly type: string;
  readonly value: unknown;
  __bool__(): { readonly value: boolean };
}
export interface Scope {
  readonly tests: ReadonlyMap<string, (...operands: Value[]) => boolean>;
  set(name: string, value: unknown): Value;
  setVariable(name: string, value: Value): Value;
}
export interface Node {
  readonly type: string;
  readonly [part: string]: unknown;
}
export const newScope = Environment as unknown as new (parent?: Scope) => Scope;

const converted = (value: unknown): Value => new newScope().set("value", value);
const classOf = <T>(sample: T) => converted(sample).constructor as new (value: T) => Value;
const [Text, Integer, Flag] = [classOf(""), classOf(0), classOf(false)];

/** A text, a whole number and a flag without a scope made for it: loops make thousands. */
export function toValue(value: unknown): Value {
  if (typeof value === "string") return new Text(value);
  if (typeof value === "boolean") return new Flag(value);
  return Number.isInteger(value) ? new Integer(value as number) : converted(value);
}
export const isText = (value: Value): value is Value & { value: string } => value.type === "StringValue";
export const isList = (value: Value): value is Value & { value: Value[] } =>
  value.type === "ArrayValue" || value.type === "TupleValue";
export const isMapping = (value: Value): value is Value & { value: Map<string, Value> } => value.type === "ObjectValue";
export const isNamespace = (value: Value): value is Value & { value: Map<string, Value> } =>
  value.type === "NamespaceValue";
export const isUndefined = (value: Value) => value.type === "UndefinedValue";

const WRITE_NOTHING = ["Set", "Macro", "Comment"];

/** What a statement that gave this value writes. */
export function shown(value: Value, statement: Node): string {
  return WRITE_NOTHING.includes(statement.type) ? "" : written(value);
}

/** str: a text as it is, all else as `repr` has it; nothing of what is not defined. */
export function written(value: Value): string {
  if (isUndefined(value)) return "";
  return isText(value) ? value.value : repr(value);
}

function repr(value: Value): string {
  if (isText(value)) return quoted(value.value);
  if (isMapping(value)) return `{${[...value.value].map(([key, item]) => `${quoted(key)}: ${repr(item)}`).join(", ")}}`;
  if (isList(value)) {
    const items = value.value.map(repr).join(", ");
    return value.type === "TupleValue" ? `(${items})` : `[${items}]`;
  }
  if (value.type === "NullValue") return "None";
  if (value.type === "BooleanValue") return value.value ? "True" : "False";
  return isUndefined(value) ? "Undefined" : String(value);
}

export function constant(value: Value): Node {
  return { type: "Value", value };
}

/** The values of nodes that hold some, without those given by name. */
export function byPlace(args: readonly Node[]): Value[] {
  return args.filter(({ type }) => type === "Value").map(({ value }) => value as Value);
}

export function name(node: unknown): string {
  return String((node as { value?: unknown } | undefined)?.value ?? "value");
}

const Mapping = converted({}).constructor as new (entries: Map<string, Value>) => Value;

export function mappingOf(items: Readonly<Record<string, Value>>): Value {
  return new Mapping(new Map(Object.entries(items)));
}

export function listOf(values: readonly Value[]): Value {
  const list = toValue([]);
  (list.value as Value[]).push(...values);
  return list;
}

/** What a loop goes through: a list's items, a mapping's keys, a text's characters, nothing of what is not defined. */
export function items(value: Value, limits?: { items(count: number): void }): readonly Value[] {
  if (isList(value)) return value.value;
  if (isUndefined(value)) return [];
  if (isText(value)) {
    limits?.items(value.value.length);
    return [...value.value].map(toValue);
  }
  if (isMapping(value)) return [...value.value.keys()].map(toValue);
  throw new Error(`expected something to go through, found ${value.type}`);
}

/** `for a in ...` or `for a, b in ...`. */
export function assign(scope: Scope, target: Node, item: Value): void {
  if (target.type === "Identifier") {
    scope.setVariable(name(target), item);
    return;
  }
  const [names, values] = [target.value as Node[], items(item)];
  if (names.length !== values.length) throw new Error(`expected ${names.length} items, found ${values.length}`);
  for (const [i, variable] of names.entries()) scope.setVariable(name(variable), values[i]!);
}

/** `step` is called for each pair that is looked at. */
export function equal(left: Value, right: Value, step: () => void): boolean {
  step();
  if (isNumber(left) && isNumber(right)) return Number(left.value) === Number(right.value);
  if (isList(left) && isList(right)) {
    return (
      left.value.length === right.value.length && left.value.every((item, i) => equal(item, right.value[i]!, step))
    );
  }
  if (isMapping(left) && isMapping(right)) {
    const other = right.value;
    if (left.value.size !== other.size) return false;
    return [...left.value].every(([key, item]) => other.has(key) && equal(item, other.get(key)!, step));
  }
  return left.type === right.type && left.value === right.value;
}

export const isWhole = (value: Value): value is Value & { value: number } => value.type === "IntegerValue";

/** Of the sign of the divisor, as in Python. */
export function modulo(value: number, by: number): number {
  if (by === 0) throw new Error("expected another divisor than 0");
  return ((value % by) + by) % by;
}

function isNumber({ type }: Value): boolean {
  return type === "IntegerValue" || type === "FloatValue" || type === "BooleanValue";
}
