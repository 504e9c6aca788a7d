/** Sets of real numbers: intervals, their unions, and what inequalities in one variable say. */
import { type Budget, valueAt } from "./evaluate.js";
import { type Expression, variables } from "./expression.js";

interface Interval {
  readonly low: number;
  readonly lowClosed: boolean;
  readonly high: number;
  readonly highClosed: boolean;
}

const everything: Interval = { low: -Infinity, lowClosed: false, high: Infinity, highClosed: false };
const point = (at: number): Interval => ({ low: at, lowClosed: true, high: at, highClosed: true });

/** The set that a tree describes, sorted and merged; null where it describes none. */
export function intervalsOf(node: Expression, budget: Budget): Interval[] | null {
  const parts = partsOf(node, budget);
  return parts && merge(parts);
}

export function sameIntervals(a: readonly Interval[], b: readonly Interval[]): boolean {
  const near = (x: number, y: number) =>
    x === y || Math.abs(x - y) <= 1e-9 * Math.max(1, Math.min(Math.abs(x), Math.abs(y)));
  return (
    a.length === b.length &&
    a.every((one, i) => {
      const other = b[i]!;
      const closed = one.lowClosed === other.lowClosed && one.highClosed === other.highClosed;
      return closed && near(one.low, other.low) && near(one.high, other.high);
    })
  );
}

function partsOf(node: Expression, budget: Budget): Interval[] | null {
  switch (node.kind) {
    case "name":
      return node.name === "mathbb R" ? [everything] : null;
    case "relation":
      if (node.signs.length !== 1 || node.signs[0] !== "∈") return inequality(node, budget);
      return node.sides[0]!.kind === "name" ? partsOf(node.sides[1]!, budget) : null;
    case "list": {
      const each = node.items.map((item) => (item.kind === "relation" ? partsOf(item, budget) : null));
      if (!each.every((part) => part !== null)) return null;
      return node.either ? each.flat() : together(each);
    }
    case "group":
      return node.open === "{" ? points(node.items, budget) : interval(node, budget);
    case "apply": {
      const [left, right] = node.args;
      if ((node.op !== "∪" && node.op !== "∖") || !left || !right) return null;
      const [a, b] = [partsOf(left, budget), partsOf(right, budget)];
      if (!a || !b) return null;
      return node.op === "∪" ? [...a, ...b] : without(a, b);
    }
    default:
      return null;
  }
}

/** Inequalities without an "or": x > 1 and x < 2 is what they share; where that is nothing (x < 1, x > 2), either. */
function together(sets: readonly Interval[][]): Interval[] {
  const shared = sets.reduce((left, right) => left.flatMap((a) => right.flatMap((b) => overlap(a, b))));
  return shared.some(({ low, high }) => low < high) ? shared : sets.flat();
}

function overlap(a: Interval, b: Interval): Interval[] {
  const low = Math.max(a.low, b.low);
  const high = Math.min(a.high, b.high);
  const lowClosed = [a, b].every((part) => part.low < low || part.lowClosed);
  const highClosed = [a, b].every((part) => part.high > high || part.highClosed);
  return low < high || (low === high && lowClosed && highClosed) ? [{ low, lowClosed, high, highClosed }] : [];
}

function interval({ open, close, items }: Expression & { kind: "group" }, budget: Budget): Interval[] | null {
  if (items.length !== 2) return null;
  const [low, high] = items.map((item) => bound(item, budget));
  if (low === undefined || high === undefined || low === null || high === null || low > high) return null;
  return [{ low, lowClosed: open === "[", high, highClosed: close === "]" }];
}

function points(items: readonly Expression[], budget: Budget): Interval[] | null {
  const values = items.map((item) => bound(item, budget));
  return values.every((value) => value !== null) ? values.map((value) => point(value)) : null;
}

/** A real constant or an infinity. */
function bound(node: Expression, budget: Budget): number | null {
  if (node.kind === "name" && node.name === "∞") return Infinity;
  if (node.kind === "apply" && node.op === "neg" && node.args.length === 1) {
    const value = bound(node.args[0]!, budget);
    return value === null ? null : -value;
  }
  if (variables(node).size > 0) return null;
  const value = valueAt(node, () => 0, budget);
  return Math.abs(value.im) < 1e-9 && !Number.isNaN(value.re) ? value.re : null;
}

/** a < g(x) <= b, where g is linear or the absolute value of something linear. */
function inequality({ sides, signs }: Expression & { kind: "relation" }, budget: Budget): Interval[] | null {
  const bounds = sides.map((side) => bound(side, budget));
  const open = sides.flatMap((_, i) => (bounds[i] === null ? [i] : []));
  if (open.length !== 1 || sides.length > 3) return null;
  const at = open[0]!;
  const body = sides[at]!;
  if (signs.length === 1 && signs[0] === "≠") {
    const value = bounds[1 - at]!;
    return without([everything], back(body, [point(value)], budget) ?? []);
  }
  let range: Interval = everything;
  for (const [i, sign] of signs.entries()) {
    const [bare, closed] = [{ "<": "<", "≤": "<", ">": ">", "≥": ">" }[sign], sign === "≤" || sign === "≥"];
    if (!bare || (i !== at && i + 1 !== at)) return null;
    const value = bounds[i === at ? i + 1 : i]!;
    const below = (bare === "<") === (i === at); // the body lies below the value
    range = below ? { ...range, high: value, highClosed: closed } : { ...range, low: value, lowClosed: closed };
  }
  return range.low > range.high ? null : back(body, [range], budget);
}

/** The values of the variable for which the body lies in a range. */
function back(body: Expression, ranges: Interval[], budget: Budget): Interval[] | null {
  if (body.kind === "apply" && body.op === "abs") {
    const positive = ranges.map((range) => ({ ...range, ...(range.low < 0 ? { low: 0, lowClosed: true } : {}) }));
    const mirrored = positive.map(({ low, lowClosed, high, highClosed }) => ({
      low: -high,
      lowClosed: highClosed,
      high: -low,
      highClosed: lowClosed,
    }));
    return back(body.args[0]!, merge([...positive, ...mirrored]), budget);
  }
  if (body.kind === "apply" && body.op.startsWith("call")) return ranges;
  if (variables(body).size !== 1) return null;
  const [y0, y1, y2] = [0, 1, 2].map((x) => valueAt(body, () => x, budget).re) as [number, number, number];
  const slope = y1 - y0;
  if (!(Math.abs(y2 - y1 - slope) < 1e-9) || slope === 0) return null;
  const solve = (y: number) => (y - y0) / slope;
  return ranges.map(({ low, lowClosed, high, highClosed }) =>
    slope > 0
      ? { low: solve(low), lowClosed, high: solve(high), highClosed }
      : { low: solve(high), lowClosed: highClosed, high: solve(low), highClosed: lowClosed },
  );
}

/** Single points taken out. */
function without(parts: Interval[], taken: Interval[]): Interval[] | null {
  if (taken.some(({ low, high }) => low !== high)) return null;
  return taken.reduce<Interval[]>(
    (left, { low: at }) =>
      left.flatMap((part) => {
        if (at < part.low || at > part.high) return [part];
        const pieces = [
          { ...part, high: at, highClosed: false },
          { ...part, low: at, lowClosed: false },
        ];
        return pieces.filter(({ low, high }) => low < high);
      }),
    parts,
  );
}

function merge(parts: readonly Interval[]): Interval[] {
  const sorted = [...parts].sort((a, b) => a.low - b.low || Number(b.lowClosed) - Number(a.lowClosed));
  const merged: Interval[] = [];
  for (const part of sorted) {
    const last = merged.at(-1);
    const touches = last && (part.low < last.high || (part.low === last.high && (part.lowClosed || last.highClosed)));
    if (!touches) merged.push(part);
    else if (part.high > last.high)
      merged[merged.length - 1] = { ...last, high: part.high, highClosed: part.highClosed };
    else if (part.high === last.high && part.highClosed) merged[merged.length - 1] = { ...last, highClosed: true };
  }
  return merged;
}
