import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";
import { datasets } from "../../../lib/data/datasets.js";
import { loadDataset } from "../../../lib/data/load.js";
import { grade } from "../../../lib/reward/answer.js";

const shared = fileURLToPath(new URL("../../../../shared/data", import.meta.url));

describe("a named set", () => {
  const apples = { Body: "Tom has 3 apples", Question: "How many?", Answer: 3 };
  const boxed = { problem: "1 + 1?", solution: "It is $\\boxed{2}$." };
  const simplerl = { question: "1 + 1?", prompt: "<user>1 + 1?", gt_answer: "2" };
  it.each<[string, Record<string, unknown>, question: string, answer: string]>([
    ["gsm8k", { question: "1 + 1?", answer: "1 + 1 = 2\n#### 2" }, "1 + 1?", "2"],
    ["svamp", apples, "Tom has 3 apples, How many?", "3"],
    ["svamp", { ...apples, Body: "Tom has 3 apples." }, "Tom has 3 apples. How many?", "3"],
    ["mawps", { input: "1 + 1?", target: "2" }, "1 + 1?", "2"],
    ["math", boxed, "1 + 1?", "2"],
    ["math", { ...boxed, answer: "3" }, "1 + 1?", "3"],
    ["math500", { ...boxed, answer: "2" }, "1 + 1?", "2"],
    ["aime24", boxed, "1 + 1?", "2"],
    ["aime25", { problem: "1 + 1?", answer: 2 }, "1 + 1?", "2"],
    ["amc23", { question: "1 + 1?", answer: 2 }, "1 + 1?", "2"],
    ["amc23", { problem: "1 + 1?", answer: 2 }, "1 + 1?", "2"],
    ["simplerl_easy", simplerl, "1 + 1?", "2"],
    ["simplerl_medium", simplerl, "1 + 1?", "2"],
    ["simplerl_hard", simplerl, "1 + 1?", "2"],
  ])("%s reads %j", (name, row, question, answer) => {
    expect(datasets[name]!.toProblem(row)).toEqual({ question, answer });
  });

  it("refuses a solution of gsm8k without its answer", () => {
    expect(() => datasets.gsm8k!.toProblem({ question: "1 + 1?", answer: "2" })).toThrow('expected "#### <number>"');
  });

  it.each<[string, train: string[], test: string[], neither: string[]]>([
    [
      "gsm8k",
      ["main/train-0.parquet"],
      ["main/test-0.parquet"],
      ["socratic/train-0.parquet", "socratic/test-0.parquet"],
    ],
    ["svamp", ["data/train-0.parquet"], ["data/test-0.parquet"], []],
    ["math", ["algebra/train-0.parquet", "geometry/train-0.parquet"], ["algebra/test-0.parquet"], []],
    ["math500", [], ["test.jsonl"], []],
    ["aime24", [], ["data/test-0.parquet"], []],
    ["aime25", [], ["test.jsonl"], []],
    ["amc23", [], ["data/test-0.parquet"], []],
    [
      "simplerl_medium",
      ["simplelr_qwen_level1to4/train.parquet"],
      ["simplelr_qwen_level1to4/test.parquet"],
      ["simplelr_qwen_level3to5/train.parquet", "simplelr_abel_level1to4/train.parquet"],
    ],
  ])("%s takes its files of the hub", (name, train, test, neither) => {
    const { hub } = datasets[name]!;
    const taken = (pattern: RegExp | undefined) =>
      [...train, ...test, ...neither].filter((path) => pattern?.test(path));
    expect([taken(hub!.train), taken(hub!.test)]).toEqual([train, test]);
  });
});

describe.skipIf(!existsSync(shared))("named sets (need ../shared/data)", () => {
  it.each([
    ["gsm8k", 7473, 1319],
    ["svamp", 808, 192],
    ["mawps", 1671, 394],
    ["math500", 0, 500],
    ["aime24", 0, 30],
    ["amc23", 0, 40],
  ])("%s", async (name, train, test) => {
    const data = await loadDataset(name);
    expect([data.train.length, data.test.length]).toEqual([train, test]);
    const letters = (question: string) =>
      question
        .toLowerCase()
        .replace(/[^\p{L}\p{N}]+/gu, " ")
        .trim();
    const questions = new Set(data.train.map(({ question }) => letters(question)));
    expect(data.test.filter(({ question }) => questions.has(letters(question)))).toEqual([]);
    const all = [...data.train, ...data.test];
    for (const { answer } of all) expect(answer).not.toBe("");
    expect(new Set(all.map(({ id }) => id)).size).toBe(all.length);
    const split = data.train.length > 0 && name !== "gsm8k" ? "" : "/test";
    expect(data.test[0]!.id).toMatch(new RegExp(`^${name}${split}/\\d+$`));
    // Every solution, and every answer in each form that is read, is right by its own answer.
    const wrong = all.filter(({ row, answer }) => {
      const solution = String(row.solution ?? (name === "gsm8k" ? row.answer : `#### ${answer}`));
      const forms = [solution, `\\boxed{${answer}}`, `The answer is $${answer}$.`];
      return forms.some((form) => !grade(form, answer).lenient);
    });
    expect(wrong).toEqual([]);
  });
});
