/**
 * Whether two mathematical texts say the same. Rational constants are compared exactly; other expressions at points that
 * depend on the variables' names alone, where two different ones agree with probability zero. Lists and sets have no
 * order, tuples do; x = 5 answers with 5; an inequality is the set of its solutions.
 */
import { sameNumber } from "../number.js";
import { Budget, BudgetSpent, exactValue, hash, valueAt } from "./evaluate.js";
import { apply, type Expression, keyOf, some, transform, variables } from "./expression.js";
import { intervalsOf, sameIntervals } from "./intervals.js";
import { withMatricesDone } from "./matrices.js";
import { parseMath } from "./parse.js";
import type { Comma } from "./tokens.js";

const MAX_ITEMS = 64;
const OPERATIONS = 40_000;

/** False also where a text cannot be read, or where telling would take too much work. */
export function sameMath(answer: string, expected: string): boolean {
  const budget = new Budget(OPERATIONS);
  try {
    const wanted = readings(expected);
    return readings(answer).some((one) => wanted.some((other) => same(one, other, budget)));
  } catch (error) {
    if (error instanceof BudgetSpent) return false;
    throw error;
  }
}

/** More than one where a comma between digits leaves it open. */
function readings(text: string): Expression[] {
  const commas: Comma[] = /\d[, ]\d/.test(text) ? ["thousands", "list"] : ["thousands"];
  // 58,50 may be 58.5; 58,500 is no decimal.
  if (/^[\s$-]*(?![1-9]\d{0,2},\d{3}(?!\d))\d+,\d+[\s$.]*$/.test(text)) commas.push("decimal");
  const trees = commas.flatMap((comma) => parseMath(text, comma) ?? []).map(withMatricesDone);
  return trees.filter((tree, i) => trees.findIndex((other) => keyOf(other) === keyOf(tree)) === i);
}

function same(a: Expression, b: Expression, budget: Budget): boolean {
  budget.spend(1);
  if (keyOf(a) === keyOf(b)) return true;
  const [named, wanted] = [valuesByName(a), valuesByName(b)];
  if (named && wanted && named.size === wanted.size && [...wanted.keys()].every((key) => named.has(key))) {
    return [...wanted].every(([key, value]) => same(named.get(key)!, value, budget));
  }
  if (a.kind === "relation" && b.kind === "relation" && sameRelation(a, b, budget)) return true;
  const systems = isSystem(a) && isSystem(b) ? [intervalsOf(a, budget), intervalsOf(b, budget)] : [];
  if (systems[0] && systems[1]) return sameIntervals(systems[0], systems[1]);
  const [left, right] = [itemsOf(a, budget), itemsOf(b, budget)];
  if (left.length > MAX_ITEMS || right.length > MAX_ITEMS) return false;
  if (left.length === 1 && right.length === 1 && sameOne(left[0]!, right[0]!, budget)) return true;
  const lists = a.kind === "list" && b.kind === "list" && left.length === right.length;
  if (lists ? sameBag(left, right, budget) : sameSet(distinct(left), distinct(right), budget)) return true;
  if (sameInOrder(a, b, budget)) return true;
  return sameSolutions(a, b, budget);
}

/** The members of a list or a set; anything else is its own only member. */
function itemsOf(node: Expression, budget: Budget): Expression[] {
  const signed = bothSigns(node);
  if (signed) return signed.flatMap((variant) => itemsOf(variant, budget));
  const value = answerOf(node);
  if (value && value.kind !== "relation" && value !== node) return itemsOf(value, budget);
  const set = node.kind === "list" || (node.kind === "group" && node.open === "{" && node.close === "}");
  if (!set) return [node];
  return node.items.slice(0, MAX_ITEMS + 1).flatMap((item) => itemsOf(item, budget));
}

function distinct(items: readonly Expression[]): Expression[] {
  return [...new Map(items.map((item) => [keyOf(item), item])).values()];
}

/** Inequalities in one variable, side by side: x < 5 or x > 3 is not x < 5 and x > 3. */
function isSystem(node: Expression): boolean {
  const inequality = (item: Expression) => item.kind === "relation" && item.signs.every((sign) => /[<>≤≥≠]/.test(sign));
  return node.kind === "list" && variables(node).size === 1 && node.items.every(inequality);
}

/** x = 5, y = 6, or (x, y) = (5, 6), by the names; null for anything else, and where a name has two values. */
function valuesByName(node: Expression): Map<string, Expression> | null {
  const relations = node.kind === "list" ? node.items : [node];
  const found = new Map<string, Expression>();
  for (const relation of relations) {
    if (relation.kind !== "relation" || relation.signs.join() !== "=") return null;
    const [left, right] = relation.sides as [Expression, Expression];
    const names = left.kind === "group" ? left.items : [left];
    const values = left.kind === "group" && right.kind === "group" ? right.items : [right];
    if (names.length !== values.length) return null;
    for (const [i, one] of names.entries()) {
      if (one.kind !== "name" || found.has(one.name)) return null;
      found.set(one.name, values[i]!);
    }
  }
  return found.size > 1 ? found : null;
}

/** a ± b as a + b and a - b. */
function bothSigns(node: Expression): [Expression, Expression] | null {
  const has = (child: Expression) => child.kind === "apply" && (child.op === "±" || child.op === "∓");
  if (node.kind !== "apply" || !some(node, has)) return null;
  const choose = (plus: string, minus: string) =>
    transform(node, (child) =>
      child.kind === "apply" && has(child) ? apply(child.op === "±" ? plus : minus, ...child.args) : child,
    );
  return [choose("+", "-"), choose("-", "+")];
}

/** What `x = ... = value ≈ decimals` answers with: the last exact side, when the side before it is a mere name. */
function answerOf(node: Expression): Expression | null {
  if (node.kind !== "relation" || !node.signs.every((sign) => ["=", "≈", "∈"].includes(sign))) return null;
  const about = node.signs.findIndex((sign, i) => sign === "≈" && i > 0);
  const sides = about < 0 ? node.sides : node.sides.slice(0, about + 1);
  const value = sides.at(-1)!;
  const constants = sides.every((side) => variables(side).size === 0);
  return isLabel(node.sides[0]!) || isLabel(sides.at(-2)!) || constants ? value : null;
}

/** x, AB, f(x), |AB|, (p, q), NO/BO: something that only says what the answer is for. */
function isLabel(node: Expression): boolean {
  switch (node.kind) {
    case "name":
      return true;
    case "group":
      return node.items.every(isLabel);
    case "apply":
      return (
        (node.op.startsWith("call") || ["*", "/", ":", "abs"].includes(node.op)) &&
        (node.op.startsWith("call") || node.args.every(isLabel))
      );
    default:
      return false;
  }
}

/** Lists of the same length: every item has one of its own in the other, so that 1, 1, 2 is not 1, 2, 2. */
function sameBag(left: readonly Expression[], right: readonly Expression[], budget: Budget): boolean {
  const open = [...right];
  return left.every((item) => {
    const at = open.findIndex((other) => sameOne(item, other, budget));
    if (at >= 0) open.splice(at, 1);
    return at >= 0;
  });
}

function sameSet(left: Expression[], right: Expression[], budget: Budget): boolean {
  const covers = (some: Expression[], all: Expression[]) =>
    all.every((item) => some.some((other) => sameOne(item, other, budget)));
  const unlike = Math.abs(left.length - right.length) > Math.max(left.length, right.length) / 2;
  return !unlike && covers(left, right) && covers(right, left);
}

/** "3, 4" for the tuple (3, 4). */
function sameInOrder(a: Expression, b: Expression, budget: Budget): boolean {
  const [list, tuple] = a.kind === "list" ? [a, b] : [b, a];
  if (list.kind !== "list" || tuple.kind !== "group" || tuple.open !== "(" || tuple.close !== ")") return false;
  return sameRow(list.items, tuple.items, budget);
}

function sameRow(a: readonly Expression[], b: readonly Expression[], budget: Budget): boolean {
  return a.length === b.length && a.every((item, i) => same(answerOf(item) ?? item, answerOf(b[i]!) ?? b[i]!, budget));
}

function sameSolutions(a: Expression, b: Expression, budget: Budget): boolean {
  const left = intervalsOf(a, budget);
  const right = left && intervalsOf(b, budget);
  return left !== null && right !== null && sameIntervals(left, right);
}

function sameOne(a: Expression, b: Expression, budget: Budget): boolean {
  budget.spend(1);
  if (a.kind === "relation" && b.kind === "relation") return keyOf(a) === keyOf(b) || sameRelation(a, b, budget);
  if (a.kind === "relation" || b.kind === "relation") {
    const [relation, other] = a.kind === "relation" ? [a, b] : [b, a];
    const value = answerOf(relation);
    return value !== null && same(value, other, budget);
  }
  if (a.kind === "group" && b.kind === "group") {
    return a.open === b.open && a.close === b.close && sameRow(a.items, b.items, budget);
  }
  if (a.kind === "matrix" && b.kind === "matrix") {
    return a.rows.length === b.rows.length && a.rows.every((row, i) => sameRow(row, b.rows[i]!, budget));
  }
  const union = (node: Expression): Expression[] =>
    node.kind === "apply" && node.op === "∪" ? node.args.flatMap(union) : [node];
  const [left, right] = [union(a), union(b)];
  if (left.length > 1 && left.length === right.length && left.length <= MAX_ITEMS) return sameSet(left, right, budget);
  return isScalar(a) && isScalar(b) && sameScalar(a, b, budget);
}

function isScalar(node: Expression): boolean {
  return node.kind === "number" || node.kind === "name" || node.kind === "apply";
}

function sameRelation(
  a: Expression & { kind: "relation" },
  b: Expression & { kind: "relation" },
  budget: Budget,
): boolean {
  const [left, right] = [answerOf(a), answerOf(b)];
  if (left && right && same(left, right, budget)) return true;
  const flipped: Record<string, string> = { "<": ">", ">": "<", "≤": "≥", "≥": "≤" };
  const reversed = {
    ...b,
    sides: [...b.sides].reverse(),
    signs: [...b.signs].reverse().map((sign) => flipped[sign] ?? sign),
  };
  const alike = (other: typeof b) => a.signs.join() === other.signs.join();
  return [b, reversed].some(
    (other) => alike(other) && (sameRow(a.sides, other.sides, budget) || proportional(a, other, budget)),
  );
}

/** Left minus right of one is a multiple of the other's: a positive one for inequalities. */
function proportional(
  a: Expression & { kind: "relation" },
  b: Expression & { kind: "relation" },
  budget: Budget,
): boolean {
  if (a.signs.length !== 1 || ![...a.sides, ...b.sides].every(isScalar)) return false;
  const difference = (node: typeof a) => apply("-", node.sides[0]!, node.sides[1]!);
  const [f, g] = [difference(a), difference(b)];
  const names = (node: Expression) => [...variables(node)].sort().join();
  if (names(f) !== names(g)) return false;
  const ratios = [0, 1, 2, 3].map((k) => {
    const point = (name: string) => hash(`${k} ${name}`);
    return valueAt(f, point, budget).div(valueAt(g, point, budget));
  });
  const first = ratios[0]!;
  if (!ratios.every((ratio) => Number.isFinite(ratio.re) && ratio.sub(first).abs() <= 1e-9 * first.abs())) return false;
  return first.abs() > 1e-12 && (["=", "≈", "≠"].includes(a.signs[0]!) || first.re > 0);
}

function sameScalar(a: Expression, b: Expression, budget: Budget): boolean {
  const [left, right] = [exactValue(a, budget), exactValue(b, budget)];
  const rounded = some(a, isDecimal) || some(b, isDecimal);
  if (left && right) return left.equals(right) || (rounded && sameNumber(left.valueOf(), right.valueOf()));
  const names = new Set([...variables(a), ...variables(b)]);
  const places = names.size === 0 ? [0] : [0, 1, 2, 3];
  const cancels = some(a, isSum) || some(b, isSum);
  return places.every((k) => {
    // The last place is negative: it tells |x| from x, and says nothing where roots turn complex.
    const point = (name: string) => (k === 3 ? -1 : 1) * hash(`${k} ${name}`);
    const [x, y] = [valueAt(a, point, budget), valueAt(b, point, budget)];
    if (x.isNaN() || y.isNaN()) return k === 3;
    if (k === 3 && (Math.abs(x.im) > 1e-12 || Math.abs(y.im) > 1e-12)) return true;
    if (rounded && names.size === 0 && Math.abs(x.im) < 1e-12 && Math.abs(y.im) < 1e-12) return sameNumber(x.re, y.re);
    return x.sub(y).abs() <= 1e-9 * Math.max(x.abs(), y.abs()) + (cancels ? 1e-12 : 0);
  });
}

const isDecimal = (node: Expression) => node.kind === "number" && node.text.includes(".");
const isSum = (node: Expression) => node.kind === "apply" && (node.op === "+" || node.op === "-");
