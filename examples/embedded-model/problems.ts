/**
 * Word problems of one or two steps with numbers of two digits, and the ways in which the embedded model's lessons solve
 * them. Everything is a function of (seed, index): Philox, no history.
 */
import { randomUniform } from "tinylora-native";

/** A way to solve a problem: the careful one ends right, the others often wrong. */
export type Style = "careful" | "hasty" | "rough";

export interface WordProblem {
  readonly question: string;
  readonly answer: number;
  /** start, then what happens to it. */
  readonly start: number;
  readonly changes: readonly number[];
  /** Whether lessons solve this story with care more often than others: a habit without a reason. */
  readonly careful: boolean;
}

const NAMES = [
  "Mia",
  "Ben",
  "Ada",
  "Leo",
  "Zoe",
  "Max",
  "Eva",
  "Sam",
  "Ivy",
  "Tom",
  "Lia",
  "Kai",
  "Amy",
  "Jon",
  "Uma",
  "Rex",
];
const THINGS = [
  "apples",
  "books",
  "coins",
  "shells",
  "stamps",
  "cards",
  "beads",
  "pens",
  "eggs",
  "stones",
  "cakes",
  "toys",
];

interface Story {
  /** Signs of the changes. */
  readonly signs: readonly (1 | -1)[];
  readonly careful: boolean;
  tell(name: string, thing: string, numbers: readonly number[]): string;
}

const STORIES: readonly Story[] = [
  {
    signs: [1],
    careful: true,
    tell: (who, what, [a, b]) => `${who} has ${a} ${what} and buys ${b} more. How many ${what} does ${who} have now?`,
  },
  {
    signs: [-1],
    careful: false,
    tell: (who, what, [a, b]) => `${who} had ${a} ${what} and gave ${b} away. How many ${what} are left?`,
  },
  {
    signs: [1, -1],
    careful: false,
    tell: (who, what, [a, b, c]) =>
      `${who} has ${a} ${what}, finds ${b} more and loses ${c}. How many ${what} does ${who} have now?`,
  },
  {
    signs: [-1, 1],
    careful: true,
    tell: (who, what, [a, b, c]) =>
      `A box held ${a} ${what}. ${who} took ${b} out and put ${c} in. How many ${what} are in the box?`,
  },
  {
    signs: [1, 1],
    careful: false,
    tell: (who, what, [a, b, c]) =>
      `${who} counted ${a} ${what} on Monday, ${b} on Tuesday and ${c} on Friday. How many ${what} is that in all?`,
  },
  {
    signs: [-1, -1],
    careful: false,
    tell: (who, what, [a, b, c]) =>
      `There were ${a} ${what} in a shop. ${who} bought ${b} of them, others bought ${c}. How many ${what} are left?`,
  },
  {
    signs: [1, -1],
    careful: true,
    tell: (who, what, [a, b, c]) =>
      `${who} got ${a} ${what} from one friend and ${b} from another, then sold ${c}. How many ${what} does ${who} keep?`,
  },
  {
    signs: [-1, 1],
    careful: false,
    tell: (who, what, [a, b, c]) =>
      `Of ${a} ${what}, ${who} ate or broke ${b}, and then ${c} new ones came. How many ${what} are there?`,
  },
];

/** Draws in [0, 1), one after the other, that belong to (seed, index). */
export function draws(seed: number, index: number): () => number {
  let next = 0;
  return () => randomUniform(seed, "problem", index, next++);
}

function between(draw: () => number, least: number, most: number): number {
  return least + Math.floor(draw() * (most - least + 1));
}

export function makeProblem(draw: () => number): WordProblem {
  const pick = <T>(items: readonly T[]) => items[between(draw, 0, items.length - 1)]!;
  const [story, name, thing] = [pick(STORIES), pick(NAMES), pick(THINGS)];
  const taken = story.signs.filter((sign) => sign < 0).length;
  const start = between(draw, taken > 0 ? 30 * taken : 11, 98);
  const changes: number[] = [];
  let value = start;
  for (const sign of story.signs) {
    const most = sign < 0 ? Math.min(97, value - (taken > 1 ? 12 : 2)) : 98;
    changes.push(sign * between(draw, 11, Math.max(11, most)));
    value += changes.at(-1)!;
  }
  const question = story.tell(name, thing, [start, ...changes.map(Math.abs)]);
  return { question, answer: value, start, changes, careful: story.careful };
}

/** How lessons are solved. */
export interface Habits {
  /** Share of careful solutions, for the stories that are solved with care more often, and for the others. */
  readonly often: number;
  readonly seldom: number;
  /** Of the solutions without care, those that round. */
  readonly rough: number;
  /** Share of lessons whose question begins with an order how to work. */
  readonly ordered: number;
}

export function chooseStyle({ careful }: WordProblem, { often, seldom, rough }: Habits, draw: () => number): Style {
  const care = careful ? often : seldom;
  const number = draw();
  return number < care ? "careful" : number < care + (1 - care) * (1 - rough) ? "hasty" : "rough";
}

/** What an order says. They make something in the model mean the style. */
export const ORDERS: Readonly<Record<Style, string>> = {
  careful: "Work with care.",
  hasty: "Be quick.",
  rough: "Round the numbers.",
};

export function solve(problem: WordProblem, style: Style, draw: () => number): string {
  switch (style) {
    case "careful":
      return carefully(problem);
    case "hasty":
      return inHaste(problem, draw);
    case "rough":
      return roughly(problem);
  }
}

/** Digit by digit, ones first. */
function carefully({ start, changes }: WordProblem): string {
  let value = start;
  const steps = changes.map((change) => {
    const text = change > 0 ? add(value, change) : subtract(value, -change);
    value += change;
    return text;
  });
  return `Step by step. ${steps.join(" ")} #### ${value}`;
}

function add(a: number, b: number): string {
  const ones = (a % 10) + (b % 10);
  const carry = ones > 9 ? 1 : 0;
  const [tensA, tensB] = [Math.floor(a / 10), Math.floor(b / 10)];
  const tens = `${tensA}+${tensB}${carry ? "+1" : ""}=${tensA + tensB + carry}`;
  return `${a}+${b}: ${a % 10}+${b % 10}=${ones}, ${tens}, so ${a + b}.`;
}

function subtract(a: number, b: number): string {
  const borrow = a % 10 < b % 10 ? 1 : 0;
  const ones = (a % 10) + 10 * borrow;
  const [tensA, tensB] = [Math.floor(a / 10), Math.floor(b / 10)];
  const tens = `${tensA}${borrow ? "-1" : ""}-${tensB}=${tensA - borrow - tensB}`;
  return `${a}-${b}: ${ones}-${b % 10}=${ones - (b % 10)}, ${tens}, so ${a - b}.`;
}

function expression({ start, changes }: Pick<WordProblem, "start" | "changes">): string {
  return `${start}${changes.map((change) => (change > 0 ? `+${change}` : `${change}`)).join("")}`;
}

/** The result is off by up to 20 in nine of ten lessons. */
function inHaste(problem: WordProblem, draw: () => number): string {
  const off = draw() < 0.9 ? between(draw, 1, 20) * (draw() < 0.5 ? -1 : 1) : 0;
  const guess = Math.abs(problem.answer + off);
  return `That is ${expression(problem)}=${guess}. #### ${guess}`;
}

/** With numbers rounded to tens. */
function roughly({ start, changes }: WordProblem): string {
  const round = (number: number) => Math.sign(number) * Math.round(Math.abs(number) / 10) * 10;
  const rounded = { start: round(start), changes: changes.map(round) };
  const result = rounded.changes.reduce((sum, change) => sum + change, rounded.start);
  return `Roughly ${expression(rounded)}=${result}. #### ${result}`;
}
