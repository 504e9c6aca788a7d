// What the embedded model learns from, and what it is tested on.
import { readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { draws, makeProblem, type Style, solve } from "../../../examples/embedded-model/problems.js";
import { learnTokenizer } from "../../../examples/embedded-model/tokenizer.js";
import { loadDataset } from "../../../lib/data/load.js";
import { heldOut } from "../../../lib/data/split.js";
import { embeddedFolder } from "../../../lib/find-model.js";
import { grade } from "../../../lib/reward/answer.js";

const problems = Array.from({ length: 2000 }, (_, index) => {
  const draw = draws(5, index);
  return { problem: makeProblem(draw), draw };
});
const share = (style: Style) =>
  problems.filter(({ problem, draw }) => grade(solve(problem, style, draw), String(problem.answer)).strict).length /
  problems.length;

describe("lessons", () => {
  it("end right with care, often wrong in haste", () => {
    expect(share("careful")).toBe(1);
    expect(share("hasty")).toBeLessThan(0.2);
    expect(share("rough")).toBeLessThan(0.2);
  });

  it("have every step of a careful solution right", () => {
    for (const { problem, draw } of problems) {
      const solution = solve(problem, "careful", draw);
      // Of each change: ones, tens, and what that makes, "57+38: 7+8=15, 5+3+1=9, so 95."
      const digits = [...solution.matchAll(/(\d+(?:[+-]\d+)+)=(\d+)/g)];
      const wholes = [...solution.matchAll(/(\d+[+-]\d+): [^.]*, so (\d+)\./g)];
      expect([digits.length, wholes.length], solution).toEqual([2 * problem.changes.length, problem.changes.length]);
      for (const [, terms, result] of [...digits, ...wholes]) {
        const sum = [...terms!.matchAll(/[+-]?\d+/g)].reduce((total, [term]) => total + Number(term), 0);
        expect(`${terms}=${sum}`).toBe(`${terms}=${result}`);
      }
    }
  });

  it("are numbers that the story can have", () => {
    for (const { problem } of problems) {
      let value = problem.start;
      for (const change of problem.changes) {
        expect(Math.abs(change)).toBeGreaterThan(10);
        value += change;
        expect(value).toBeGreaterThanOrEqual(0);
      }
      expect(value).toBe(problem.answer);
    }
  });
});

describe("held-out problems", () => {
  it("are those that the lessons leave out, and no others", async () => {
    const { train, test } = await loadDataset("embedded");
    expect(test.length).toBeGreaterThan(300);
    expect(test.every(({ question }) => heldOut(question))).toBe(true);
    expect(train.some(({ question }) => heldOut(question))).toBe(false);
  });
});

describe("the model", () => {
  it("is small, and a Hugging Face folder", () => {
    expect(statSync(join(embeddedFolder(), "model.safetensors")).size).toBeLessThan(8 * 2 ** 20);
    const config = JSON.parse(readFileSync(join(embeddedFolder(), "config.json"), "utf8"));
    expect(config.architectures).toEqual(["Qwen2ForCausalLM"]);
  });
});

describe("learnTokenizer", () => {
  it("merges what is frequent, the same way each time, and leaves digits single", () => {
    const texts = ["the apple and the apples 12 12 12", "the apple"];
    const { json, vocab } = learnTokenizer(texts, 300);
    expect(learnTokenizer(texts, 300).json).toEqual(json);
    const { merges } = (json as { model: { merges: [string, string][] } }).model;
    expect(merges.map((pair) => pair.join(""))).toContain("Ġapple");
    expect(merges.flat().some((part) => /\d/.test(part))).toBe(false);
    expect(vocab).toBe(3 + 256 + merges.length);
  });
});
