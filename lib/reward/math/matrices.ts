import { BudgetSpent } from "./evaluate.js";
import { apply, children, type Expression, transform } from "./expression.js";

type Rows = readonly (readonly Expression[])[];
/** Of the trees of a result's entries, shared parts counted as often as they occur: products of products grow fast. */
const MAX_NODES = 5000;

/** Sums, differences and products of matrices carried out entry by entry. */
export function withMatricesDone(node: Expression): Expression {
  return transform(node, (child) => {
    if (child.kind !== "apply") return child;
    const [a, b] = child.args;
    const rows = a && combine(child.op, a, b);
    if (!rows) return child;
    const result: Expression = { kind: "matrix", rows };
    if (nodes(result) > MAX_NODES) throw new BudgetSpent();
    return result;
  });
}

function combine(op: string, a: Expression, b: Expression | undefined): Rows | null {
  const [left, right] = [rowsOf(a), b && rowsOf(b)];
  if (op === "neg" && left) return each(left, (entry) => apply("neg", entry));
  if (!b) return null;
  if (
    (op === "+" || op === "-") &&
    left &&
    right &&
    left.length === right.length &&
    left[0]?.length === right[0]?.length
  ) {
    return left.map((row, i) => row.map((entry, j) => apply(op, entry, right[i]![j] ?? entry)));
  }
  if (op === "*" && left && right) return isWide(left, right.length) ? multiply(left, right) : null;
  if (op === "*" && right) return each(right, (entry) => apply("*", a, entry));
  return (op === "*" || op === "/") && left ? each(left, (entry) => apply(op, entry, b)) : null;
}

/** Whether all rows have this many entries: answers hold matrices that are none. */
function isWide(rows: Rows, columns: number): boolean {
  return rows.every((row) => row.length === columns);
}

function multiply(left: Rows, right: Rows): Rows {
  return left.map((row) =>
    right[0]!.map((_, j) =>
      row.map((entry, k) => apply("*", entry, right[k]![j] ?? entry)).reduce((sum, term) => apply("+", sum, term)),
    ),
  );
}

function rowsOf(node: Expression): Rows | null {
  return node.kind === "matrix" && node.rows.length > 0 ? node.rows : null;
}

function each(rows: Rows, change: (entry: Expression) => Expression): Rows {
  return rows.map((row) => row.map(change));
}

const counts = new WeakMap<Expression, number>();

function nodes(tree: Expression): number {
  const known = counts.get(tree);
  if (known !== undefined) return known;
  const count = children(tree).reduce((sum, child) => sum + nodes(child), 1);
  counts.set(tree, count);
  return count;
}
