/** Values of trees: exact where everything is rational, else complex numbers at given points. */
import { Complex } from "complex.js";
import Fraction from "fraction.js";
import { type Expression, keyOf } from "./expression.js";

/** Work that one comparison may do. It counts operations, not time: a verdict must not depend on the machine. */
export class Budget {
  #left: number;
  constructor(operations: number) {
    this.#left = operations;
  }
  spend(operations: number): void {
    this.#left -= operations;
    if (this.#left < 0) throw new BudgetSpent();
  }
}

export class BudgetSpent extends Error {}

const MAX_BITS = 4096;

/** The rational number that a tree is, or null where it is none or too large. */
export function exactValue(node: Expression, budget: Budget): Fraction | null {
  budget.spend(1);
  if (node.kind === "number") return node.text.length > MAX_BITS / 4 ? null : new Fraction(node.text);
  if (node.kind !== "apply") return null;
  const values: Fraction[] = [];
  for (const argument of node.args) {
    const value = exactValue(argument, budget);
    if (value === null) return null;
    values.push(value);
  }
  const result = rational(node.op, values, budget);
  if (result === null) return null;
  const bits = size(result);
  budget.spend(bits >> 3);
  return bits > MAX_BITS ? null : result;
}

function rational(op: string, [a, b]: Fraction[], budget: Budget): Fraction | null {
  if (a === undefined) return null;
  switch (op) {
    case "neg":
      return a.neg();
    case "abs":
      return a.abs();
    case "!":
      return a.d === 1n && a.s >= 0n && a.n <= 300n ? factorial(Number(a.n), budget) : null;
  }
  if (b === undefined) return null;
  switch (op) {
    case "+":
      return a.add(b);
    case "-":
      return a.sub(b);
    case "*":
      return a.mul(b);
    case "/":
      return b.n === 0n ? null : a.div(b);
    case "^": {
      if (b.d !== 1n || b.n > 4096n || size(a) * Number(b.n) > MAX_BITS) return null;
      return a.n === 0n && b.s <= 0n ? null : a.pow(b);
    }
    case "binom": {
      if (a.d !== 1n || b.d !== 1n || a.s < 0n || b.s < 0n || a.n > 300n || b.n > a.n) return null;
      const [n, k] = [Number(a.n), Number(b.n)];
      return factorial(n, budget).div(factorial(k, budget).mul(factorial(n - k, budget)));
    }
    default:
      return null;
  }
}

function factorial(n: number, budget: Budget): Fraction {
  budget.spend(4 * n); // products of long numbers
  let product = 1n;
  for (let i = 2n; i <= n; i++) product *= i;
  return new Fraction(product);
}

function size(value: Fraction): number {
  return 4 * (value.n.toString(16).length + value.d.toString(16).length);
}

/** A number for each variable, by its name. */
type Point = (name: string) => number;

const NONE = new Complex(Number.NaN, Number.NaN);

/** The value at a point; NaN where there is none, where it is out of a double's range or too small for it. */
export function valueAt(node: Expression, point: Point, budget: Budget): Complex {
  budget.spend(1);
  switch (node.kind) {
    case "number":
      return new Complex(Number(node.text), 0);
    case "name":
      return named(node.name, point);
    case "apply": {
      const values = node.args.map((argument) => scalarOrKey(argument, point, budget));
      const result = operation(node.op, values);
      return Number.isFinite(result.re) && Number.isFinite(result.im) ? result : NONE;
    }
    default:
      return NONE;
  }
}

/** Bounds of sums are relations, which have no value: something that is the same only for the same text. */
function scalarOrKey(node: Expression, point: Point, budget: Budget): Complex {
  const scalar = node.kind === "number" || node.kind === "name" || node.kind === "apply";
  return scalar ? valueAt(node, point, budget) : new Complex(hash(keyOf(node)), 0);
}

function named(name: string, point: Point): Complex {
  if (name === "π") return Complex.PI;
  if (name === "e") return Complex.E;
  if (name === "i") return Complex.I;
  return name === "∞" ? NONE : new Complex(point(name), 0);
}

const unary: Record<string, (z: Complex) => Complex> = {
  neg: (z) => z.neg(),
  abs: (z) => new Complex(z.abs(), 0),
  sqrt: (z) => z.sqrt(),
  exp: (z) => z.exp(),
  ln: (z) => z.log(),
  log: (z) => z.log().div(Math.LN10, 0),
  lg: (z) => z.log().div(Math.LN10, 0),
  sin: (z) => z.sin(),
  cos: (z) => z.cos(),
  tan: (z) => z.tan(),
  cot: (z) => z.cot(),
  sec: (z) => z.sec(),
  csc: (z) => z.csc(),
  arcsin: (z) => z.asin(),
  arccos: (z) => z.acos(),
  arctan: (z) => z.atan(),
  sinh: (z) => z.sinh(),
  cosh: (z) => z.cosh(),
  tanh: (z) => z.tanh(),
  "!": (z) =>
    z.im === 0 && Number.isInteger(z.re) && z.re >= 0 && z.re <= 170
      ? new Complex(factorialOf(z.re), 0)
      : opaque("!", [z]),
};

const binary: Record<string, (a: Complex, b: Complex) => Complex> = {
  "+": (a, b) => a.add(b),
  "-": (a, b) => a.sub(b),
  "*": (a, b) => product(a, b, a.mul(b)),
  "/": (a, b) => (isZero(b) ? NONE : product(a, b, a.div(b))),
  ":": (a, b) => (isZero(b) ? NONE : a.div(b)),
  "^": (a, b) => (isZero(a) ? (b.re > 0 ? a : NONE) : product(a, a, a.pow(b))),
  root: (a, n) => {
    const odd = n.im === 0 && Math.abs(n.re % 2) === 1;
    return odd && a.im === 0 && a.re < 0 ? a.neg().pow(n.inverse()).neg() : isZero(a) ? a : a.pow(n.inverse());
  },
  log: (z, base) => z.log().div(base.log()),
};

function operation(op: string, values: Complex[]): Complex {
  if (values.some((value) => value.isNaN())) return NONE;
  const [a, b] = values;
  if (a && values.length === 1 && op in unary) return unary[op]!(a);
  if (a && b && values.length === 2 && op in binary) return binary[op]!(a, b);
  return opaque(op, values);
}

/** A result that has sunk to zero though nothing in it was zero says nothing. */
function product(a: Complex, b: Complex, result: Complex): Complex {
  return isZero(result) && !isZero(a) && !isZero(b) ? NONE : result;
}

function isZero(z: Complex): boolean {
  return z.re === 0 && z.im === 0;
}

function factorialOf(n: number): number {
  let product = 1;
  for (let i = 2; i <= n; i++) product *= i;
  return product;
}

/** A function that is not known: a number that depends on its name and arguments alone. */
function opaque(op: string, values: readonly Complex[]): Complex {
  const places = values.map(
    ({ re, im }) => `${(re + 0).toPrecision(9)},${(Math.abs(im) < 1e-12 ? 0 : im).toPrecision(9)}`,
  );
  return new Complex(hash(`${op}(${places.join(";")})`), 0);
}

/** FNV-1a, as a number between 0.5 and 2.5. */
export function hash(text: string): number {
  let state = 0x811c9dc5;
  for (let i = 0; i < text.length; i++) state = Math.imul(state ^ text.charCodeAt(i), 0x01000193);
  state = Math.imul(state ^ (state >>> 15), 0x2c1b3c6d);
  return 0.5 + (2 * ((state ^ (state >>> 13)) >>> 0)) / 2 ** 32;
}
