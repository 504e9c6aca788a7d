import { appendFile, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { resolveConfig } from "../../../lib/config/config.js";
import type { TrainOptions } from "../../../lib/config/schema.js";
import { loadDataset } from "../../../lib/data/load.js";
import { trainingData } from "../../../lib/train/training-data.js";

let folder: string;
let own: string;
let other: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "tinylora-"));
  own = join(folder, "own.jsonl");
  other = join(folder, "other.csv");
  const rows = Array.from({ length: 20 }, (_, i) => ({ task: `task ${i}?`, result: i }));
  await writeFile(own, rows.map((row) => `${JSON.stringify(row)}\n`).join(""));
  await writeFile(other, "exercise,value\nexercise 1?,1\n");
});
afterEach(async () => {
  await rm(folder, { recursive: true });
});

const columns = { question_column: "task", answer_column: "result" };
async function heldOut(options: TrainOptions) {
  const { test } = await trainingData({}, resolveConfig({ data: own, ...columns, ...options }), {});
  return test.map(({ question, answer }) => [question, answer]);
}

describe("the columns of eval_data", () => {
  it("are its own where they are named", async () => {
    const named = { eval_question_column: "exercise", eval_answer_column: "value" };
    expect(await heldOut({ eval_data: other, ...named })).toEqual([["exercise 1?", "1"]]);
    await expect(heldOut({ eval_data: other })).rejects.toThrow(/other\.csv:2: expected a text or number named "task"/);
  });

  it("are those of the training data for another file", async () => {
    await writeFile(other, "task,result\nexercise 2?,2\n");
    expect(await heldOut({ eval_data: other })).toEqual([["exercise 2?", "2"]]);
    const loaded = await trainingData({}, resolveConfig({ data: own, ...columns, eval_data: other }), {});
    expect(loaded.testOf).toBe(other); // so that a trainer takes it beside the same options
  });

  it("are a named set's own, whatever those of the training data", async () => {
    const { test } = await trainingData({}, resolveConfig({ data: own, ...columns, eval_data: "embedded" }), {});
    expect(test.length).toBeGreaterThan(100);
    expect(test[0]!.answer).not.toBe("");
  });

  it("hold an answer, or are told with the option that names it", async () => {
    const file = join(folder, "no-answers.jsonl");
    await writeFile(file, '{"exercise": "exercise 1?"}\n{"exercise": "exercise 2?", "answer": 2}\n');
    const options = { eval_data: file, answer_column: null, eval_question_column: "exercise" };
    const data = { question_column: "task" };
    await expect(heldOut({ ...data, ...options })).rejects.toThrow(
      /no-answers\.jsonl\/1: expected an answer .*: eval_answer_column names another column/,
    );
  });
});

describe("the problems of eval_data", () => {
  const tasks = async (options: TrainOptions) => (await heldOut(options)).map(([question]) => question).sort();
  const rows = (from: number) => Array.from({ length: 20 }, (_, i) => `task ${from + i}?`);

  it("are all of another file's", async () => {
    await writeFile(
      other,
      `task,result\n${rows(100)
        .map((task) => `${task},1\n`)
        .join("")}`,
    );
    expect(await tasks({ eval_data: other })).toEqual(rows(100).sort());
  });

  it("are held out where the file is the one that is trained on", async () => {
    const { train } = await trainingData({}, resolveConfig({ data: own, ...columns }), {});
    const questions = await tasks({ eval_data: own });
    expect([...questions, ...train.map(({ question }) => question)].sort()).toEqual(rows(0).sort());
    expect(train.length).toBeGreaterThan(0);
    expect(questions).toEqual(await tasks({}));
  });

  it("are the part of a named set that is for testing", async () => {
    const { test } = await loadDataset("embedded");
    expect(await tasks({ eval_data: "embedded" })).toEqual(test.map(({ question }) => question).sort());
  });
});

describe("skip_bad", () => {
  it("tells of each source how many rows it left out", async () => {
    const warnings: string[] = [];
    const load = (options: TrainOptions) =>
      trainingData({}, resolveConfig({ data: own, ...columns, skip_bad: true, ...options }), {
        onWarning: (message) => void warnings.push(message),
      });
    await load({});
    expect(warnings).toEqual([]);
    await appendFile(own, '{"task"\n{"result": 1}\n');
    await writeFile(other, "task,result\nexercise 1?,1\nexercise 2?,\n");
    const { test } = await load({ eval_data: other });
    expect(test.map(({ question }) => question)).toEqual(["exercise 1?"]);
    expect(warnings).toEqual([
      expect.stringMatching(/own\.jsonl: 2 broken rows left out, the first: .*own\.jsonl:21: broken JSON/),
      expect.stringMatching(/other\.csv: 1 broken rows left out, the first: .*other\.csv:3: expected a text or number/),
    ]);
    await writeFile(other, "task,result\nexercise 2?,\n");
    await expect(load({ eval_data: other })).rejects.toThrow(/other\.csv: expected problems, found 1 broken rows/);
  });
});
