/** What the columns of a row mean. */
import { TinyLoraError } from "../error.js";
import { isObject } from "../is-object.js";
import { strictAnswer } from "../reward/read-answer.js";
import { shortened, show } from "../show.js";
import type { Example, Problem } from "./example.js";

/** Letters of a question or an answer: more than any model's context takes. */
const LONGEST = 2 ** 20;

/** Which columns hold question and answer; null: one of the usual names. */
export interface Columns {
  readonly question_column: string | null;
  readonly answer_column: string | null;
}

const QUESTIONS = ["question", "prompt", "problem", "input"];
const ANSWERS = [
  "answer",
  "target",
  "final_answer",
  "gt_answer",
  "ground_truth",
  "reward_model.ground_truth",
  "solution",
];

/** Question and answer of a row of any data set. */
export function anyProblem(row: Record<string, unknown>, columns: Columns): Problem {
  const question = columns.question_column ?? QUESTIONS.find((name) => Object.hasOwn(row, name));
  if (question === undefined) {
    throw new Error(
      `expected a question in ${QUESTIONS.join(", ")}, found only ${namesIn(row)}: question_column (of eval_data eval_question_column) names another column`,
    );
  }
  const answer = columns.answer_column ?? ANSWERS.find((name) => valueAt(row, name) !== undefined);
  return { question: field(row, question), answer: answer === undefined ? "" : finalAnswer(field(row, answer)) };
}

/** Those of a row of MATH's form: the answer has a column of its own, or is boxed in the solution. */
export function mathProblem(row: Record<string, unknown>): Problem {
  const answer = "answer" in row ? field(row, "answer") : finalAnswer(field(row, "solution"));
  return { question: field(row, "problem"), answer };
}

/** Throws ERR_DATA where a problem has no answer to compare with; `option` would name the column of one. */
export function checkAnswer({ id, answer, row }: Example, option = "answer_column"): void {
  if (answer !== "") return;
  throw new TinyLoraError(
    "ERR_DATA",
    `${id}: expected an answer in ${ANSWERS.join(", ")}, found only ${namesIn(row)}: ${option} names another column`,
  );
}

/** What follows `####`, or the last \\boxed{}, of a solution; an answer as it is. */
function finalAnswer(text: string): string {
  if (text.includes("####")) return text.split("####").at(-1)!.trim();
  return text.includes("\\boxed") ? (strictAnswer(text) ?? text) : text;
}

/** A text or number of a row, as text, where it is of a sensible length. */
export function field(row: Record<string, unknown>, name: string): string {
  const text = textAt(row, name);
  if (text.length <= LONGEST) return text;
  throw new Error(`expected at most ${LONGEST} letters in "${name}", found ${text.length}`);
}

/** Of a chat it is what the user says last; `a.b` is b within a. */
function textAt(row: Record<string, unknown>, name: string): string {
  const value = valueAt(row, name);
  if (typeof value === "string" && value.trim() !== "") return value.trim();
  if (typeof value === "number" && Number.isFinite(value)) return textOfNumber(name, value);
  const said = Array.isArray(value) ? lastOfUser(value) : undefined;
  if (said) return said;
  const found = value === undefined ? `only ${namesIn(row)}` : show(value);
  throw new Error(`expected a text or number named "${name}", found ${found}`);
}

/** JSON.parse rounds a longer whole number to a double: what the file says is lost. */
function textOfNumber(name: string, value: number): string {
  if (!Number.isInteger(value) || Number.isSafeInteger(value)) return String(value);
  throw new Error(
    `expected a whole number within 2^53 in "${name}", found about ${value}: write it as a text, in quotes`,
  );
}

function namesIn(row: Record<string, unknown>): string {
  return shortened(Object.keys(row).join(", ") || "nothing", 300);
}

/** What a row holds under a name; `a.b` is b within a, unless a column has that name. */
export function valueAt(row: Readonly<Record<string, unknown>>, name: string): unknown {
  if (Object.hasOwn(row, name)) return row[name];
  const within = (value: unknown, key: string) =>
    isObject(value) && Object.hasOwn(value, key) ? value[key] : undefined;
  return name.split(".").reduce<unknown>(within, row);
}

function lastOfUser(messages: readonly unknown[]): string | undefined {
  const said = messages
    .filter(isObject)
    .filter(({ role }) => role === "user")
    .at(-1)?.content;
  return typeof said === "string" && said.trim() !== "" ? said.trim() : undefined;
}
