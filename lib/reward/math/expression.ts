/** What a mathematical text says, as a tree. */
export type Expression =
  | { readonly kind: "number"; readonly text: string }
  /** A variable, a constant or a word that stands for itself. */
  | { readonly kind: "name"; readonly name: string }
  /** + - * / ^ neg sqrt root sin ... ; an operator that nobody knows is a function of its arguments and nothing else. */
  | { readonly kind: "apply"; readonly op: string; readonly args: readonly Expression[] }
  /** (a, b), [a, b), {a, b}: a tuple, an interval or a set. */
  | { readonly kind: "group"; readonly open: string; readonly close: string; readonly items: readonly Expression[] }
  /** a, b and c without brackets: their order says nothing. `either`: with an "or" between them. */
  | { readonly kind: "list"; readonly items: readonly Expression[]; readonly either?: boolean }
  /** a < b = c: one sign fewer than sides. */
  | { readonly kind: "relation"; readonly sides: readonly Expression[]; readonly signs: readonly string[] }
  | { readonly kind: "matrix"; readonly rows: readonly (readonly Expression[])[] };

export const apply = (op: string, ...args: Expression[]): Expression => ({ kind: "apply", op, args });
export const number = (text: string): Expression => ({ kind: "number", text });
export const name = (text: string): Expression => ({ kind: "name", name: text });

export function children(node: Expression): readonly Expression[] {
  switch (node.kind) {
    case "apply":
      return node.args;
    case "group":
    case "list":
      return node.items;
    case "relation":
      return node.sides;
    case "matrix":
      return node.rows.flat();
    default:
      return [];
  }
}

export function some(node: Expression, test: (node: Expression) => boolean): boolean {
  return test(node) || children(node).some((child) => some(child, test));
}

/** The same tree with `change` applied to every node, leaves first. */
export function transform(node: Expression, change: (node: Expression) => Expression): Expression {
  const go = (child: Expression) => transform(child, change);
  switch (node.kind) {
    case "apply":
      return change({ ...node, args: node.args.map(go) });
    case "group":
    case "list":
      return change({ ...node, items: node.items.map(go) });
    case "relation":
      return change({ ...node, sides: node.sides.map(go) });
    case "matrix":
      return change({ ...node, rows: node.rows.map((row) => row.map(go)) });
    default:
      return change(node);
  }
}

const constants = new Set(["π", "e", "i", "∞"]);

/** Names of a tree that are no constants. */
export function variables(node: Expression): Set<string> {
  const found = new Set<string>();
  some(node, (child) => {
    if (child.kind === "name" && !constants.has(child.name)) found.add(child.name);
    return false;
  });
  return found;
}

/** A text that two trees share only when they are the same. */
export function keyOf(node: Expression): string {
  const list = (items: readonly Expression[]) => items.map(keyOf).join(",");
  switch (node.kind) {
    case "number":
      return node.text;
    case "name":
      return node.name;
    case "apply":
      return `${node.op}(${list(node.args)})`;
    case "group":
      return `${node.open}${list(node.items)}${node.close}`;
    case "list":
      return `<${node.either ? "or " : ""}${list(node.items)}>`;
    case "relation":
      return `${keyOf(node.sides[0]!)}${node.signs.map((sign, i) => `${sign}${keyOf(node.sides[i + 1]!)}`).join("")}`;
    case "matrix":
      return `matrix(${node.rows.map(list).join(";")})`;
  }
}
