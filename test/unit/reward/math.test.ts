import { readFileSync } from "node:fs";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { grade, sameAnswer } from "../../../lib/reward/answer.js";
import { looseAnswer, strictAnswer } from "../../../lib/reward/read-answer.js";

/**
 * Pairs and outcomes from the tests of Math-Verify (huggingface/Math-Verify at 5d148cf, Apache License 2.0; its test
 * file carries an MIT notice of The HuggingFace Team, 2024). `option` marks those that set an option of its own.
 */
interface Case {
  readonly test: string;
  readonly gold: string;
  readonly pred: string;
  readonly same: boolean;
  readonly option?: string;
}

const cases = readFileSync(new URL("cases/math-verify.jsonl", import.meta.url), "utf8")
  .trim()
  .split("\n")
  .map((line) => JSON.parse(line) as Case);

/** What a data set would give as the answer: its gold texts are whole solutions and formulas between dollars too. */
function expectedOf(gold: string): string {
  return strictAnswer(gold) ?? (/\$|\\\(/.test(gold) ? looseAnswer(gold) : null) ?? gold;
}

/** Microseconds of this process alone, since other work on the machine does not count. */
function timeOf(work: () => void): number {
  const start = process.cpuUsage();
  work();
  const { user, system } = process.cpuUsage(start);
  return user + system;
}

/** Of each case, ascending: on a slow machine all take longer, so that they are compared with one another. */
const times = cases.map(({ gold, pred }) => timeOf(() => grade(pred, expectedOf(gold)))).sort((a, b) => a - b);
const timeOfAll = times.reduce((sum, time) => sum + time, 0);

describe("Math-Verify's cases", () => {
  const plain = cases.filter(({ option }) => option === undefined);
  const disagreements = plain.filter(({ gold, pred, same }) => grade(pred, expectedOf(gold)).lenient !== same);

  it("agree in at least 97 of 100", () => {
    expect(plain.length).toBe(264);
    expect(1 - disagreements.length / plain.length).toBeGreaterThanOrEqual(0.97);
  });

  it("differ where we mean to", () => {
    expect(disagreements.map(({ gold, same }) => `${gold}: ${same}`)).toEqual([
      "2.74: true", // a decimal comma within French prose
      "$9$: false", // Math-Verify reads no inline formula that spans lines
      "$9$: false",
      "$10455$: true", // two boxes, then another number as "final answer": the box counts
      "$x \\in [-2,7]$: false", // an interval may be answered by an inequality
      "$1 - \\frac{1}{\\mathrm{e}}$: true", // 1 + 1/e is not 1 - 1/e
    ]);
  });

  it("take at the 99th percentile less than a quarter of the time of all", () => {
    expect(times[Math.floor(0.99 * times.length)]).toBeLessThan(timeOfAll / 4);
  });
});

describe("sameAnswer", () => {
  // The first fifteen, and the lists, are cases of hendrycks/math (MIT) that leave the order of lists open.
  it.each<[string, string]>([
    ["10, 4, -2", "4, 10, -2"],
    ["\\tfrac{1}{2} +\\! \\frac1{72}", "\\\\dfrac{1}{2} +\\frac{1}{72}"],
    ["10\\text{ units}", "10 "],
    ["10", "\\$10"],
    ["\\left(x-2\\right)\\left(x+2\\right)", "(x-2)(x+2)"],
    ["0.1", ".1"],
    ["10\\%", "10"],
    ["\\frac{x}{2}\\%", "x/2"],
    ["x/2 %", "\\frac{x}{2}"],
    ["10\\sqrt{3} + \\sqrt4", "10\\sqrt3 + \\sqrt{4}"],
    ["\\frac34i", "\\frac{3}{4}i"],
    ["\\tfrac83", "\\frac{8}{3}"],
    ["1/2", "\\frac{1}{2}"],
    ["(x+1)^2", "x^2+2x+1"],
    ["2^{100}", "1267650600228229401496703205376"],
    ["9^{9^9}", "9^{9^{9}}"],
    ["\\sin^2 x+\\cos^2 x", "1"],
    ["\\frac{\\sqrt{2}}{2}", "\\frac{1}{\\sqrt2}"],
    ["\\{1,2,3\\}", "\\{3,2,1\\}"],
    ["x=3", "3"],
    ["x=3,y=4", "(3,4)"],
    ["3,4", "(3,4)"],
    ["x\\in[-2,7]", "-2\\le x\\le 7"],
    ["x>2", "(2,\\infty)"],
    ["x \\neq 2", "(-\\infty,2)\\cup(2,\\infty)"],
    ["\\mathbb{R}\\setminus\\{2\\}", "(-\\infty,2)\\cup(2,\\infty)"],
    ["\\begin{pmatrix}1\\\\2\\end{pmatrix}", "\\begin{bmatrix}1\\\\ 2\\end{bmatrix}"],
    ["\\log_2 8", "3"],
    ["\\ln e", "1"],
    ["e^{i\\pi}", "-1"],
    ["\\binom{5}{2}", "10"],
    ["5!", "120"],
    ["2\\pi", "6.283185307"],
    ["\\text{(B)}", "B"],
    ["\\text{east}", "east"],
    ["-\\frac{1}{2}", "\\frac{-1}{2}"],
    ["2\\frac{1}{2}", "2.5"],
    ["0.\\overline{3}", "1/3"],
    ["0.1\\overline{6}", "1/6"],
    ["x^2+1=0", "x^2=-1"],
    ["y=2x+1", "2x-y+1=0"],
    ["y>2x", "2x<y"],
    ["\\frac{\\pi}{4}+2k\\pi", "\\frac{\\pi}{4}+2\\pi k"],
    ["\\sqrt[3]{8}", "2"],
    ["1,234", "1234"],
    ["(1,234)", "(1,234)"],
    ["f(x)=x^2", "x^2"],
    ["5\\text{ or }7", "5,7"],
    ["\\frac{3}{2}, \\frac12", "0.5, 1.5"],
    ["60^{\\circ}", "60"],
    ["12\\text{ cm}^2", "12"],
    ["\\infty", "\\infty"],
    ["\\text{no solution}", "\\text{No solution}"],
    ["6 - 5i", "6-5i"],
    ["a+b+c", "c+b+a"],
    ["xy", "yx"],
    ["\\frac{1}{x+1}", "\\frac{1}{1+x}"],
    ["x^{2/3}", "\\sqrt[3]{x^2}"],
    ["\\arcsin(1)", "\\frac{\\pi}{2}"],
    ["4^{3/2}", "8"],
    ["1.5\\times10^{3}", "1500"],
    ["2:3", "2/3"],
    ["\\sqrt{3}-\\sqrt{3}", "0"],
    ["\\pm 3", "3,-3"],
    ["x^2y", "yx^2"],
    ["2 \\cdot 3^4", "162"],
    ["\\frac{a}{b}", "a/b"],
    ["3+4", "7"],
    ["42.0", "42"],
    ["\\lg 100", "2"],
    ["\\log 100", "2"],
    ["\\exp(2)", "e^2"],
    ["\\tan 1", "\\frac{\\sin 1}{\\cos 1}"],
    ["\\cot 1", "\\frac{\\cos 1}{\\sin 1}"],
    ["\\sec 1", "\\frac{1}{\\cos 1}"],
    ["\\csc 1", "\\frac{1}{\\sin 1}"],
    ["\\arccos 0", "\\frac{\\pi}{2}"],
    ["\\arctan 1", "\\frac{\\pi}{4}"],
    ["\\sinh 1", "\\frac{e-e^{-1}}{2}"],
    ["\\cosh 1", "\\frac{e+e^{-1}}{2}"],
    ["\\tanh 1", "\\frac{\\sinh 1}{\\cosh 1}"],
    ["|1-\\sqrt{2}|", "\\sqrt{2}-1"],
    ["\\sqrt[3]{-8}", "-2"],
    ["f(2i)", "f(i+i)"],
    ["y\\ge 2x", "2x\\le y"],
    ["\\varnothing", "\\emptyset"],
    ["\\infinity", "\\infty"],
    ["2\\begin{pmatrix}1\\\\2\\end{pmatrix}", "\\begin{pmatrix}2\\\\4\\end{pmatrix}"],
    ["\\begin{pmatrix}2\\\\4\\end{pmatrix}/2", "\\begin{pmatrix}1\\\\2\\end{pmatrix}"],
    ["-\\begin{pmatrix}1\\\\2\\end{pmatrix}", "\\begin{pmatrix}-1\\\\-2\\end{pmatrix}"],
    [
      "\\begin{pmatrix}3\\\\4\\end{pmatrix}-\\begin{pmatrix}1\\\\1\\end{pmatrix}",
      "\\begin{pmatrix}2\\\\3\\end{pmatrix}",
    ],
    ["[1,3]\\cup[2,4]", "[1,4]"],
    ["[1,2)\\cup[2,3]", "[1,3]"],
    ["[1,2]\\cup(2,3]", "[1,3]"],
    ["(1,2)\\cup(1,3)", "(1,3)"],
    ["x>1 \\text{ and } x\\le 2", "(1,2]"],
    ["1<x \\text{ and } x<3 \\text{ and } x\\ne 2", "(1,2)\\cup(2,3)"],
    ["x<5 \\text{ or } x>3", "(-\\infty,\\infty)"],
    ["x>2 or x<1", "x<1, x>2"],
    ["5 or 6", "6, 5"],
    ["58,50", "58.5"],
    ["(2, infinity)", "(2,\\infty)"],
    ["2θ", "2\\theta"],
    ["x>0, x^2<4", "x^2<4, x>0"],
    ["x<1 \\lor x>2", "(-\\infty,1)\\cup(2,\\infty)"],
    ["x<1 \\text{ or } x>2", "(-\\infty,1)\\cup(2,\\infty)"],
    ["x\\ne 1, x\\ne 2", "(-\\infty,1)\\cup(1,2)\\cup(2,\\infty)"],
    ["x=5, y=6", "y=6, x=5"],
    ["(x,y)=(5,6)", "x=5, y=6"],
    ["a=5, b=6", "x=5, y=6"],
    ["1, 1, 2", "1, 2"],
    ["0.5, 0.5, 1", "\\frac12, 1, 1/2"],
    ["\\approx 5", "5"],
    ["123456789012345678901 \\text{ ways}", "123456789012345678901"],
  ])("%j is %j", (a, b) => {
    expect(sameAnswer(a, b)).toBe(true);
    expect(sameAnswer(b, a)).toBe(true);
  });

  it.each<[string, string]>([
    ["\\tfrac{1}{2} + \\frac1{72}", "\\\\frac{1}{2} + 2/3"],
    ["10, 4, 2", "4, 12, 2"],
    ["10\\text{ units}", "100 "],
    ["5x - 7y + 11z + 4 = 0", "x + y - z + 2 = 0"],
    ["\\sqrt{x^2}", "x"],
    ["|x|", "x"],
    ["2^{100}", "2^{100}+1"],
    ["\\frac{1}{2004!}", "\\frac{1}{2006!}"],
    ["9^{9^9}", "9^{9^8}"],
    ["\\cos 60^\\circ", "\\frac12"],
    ["\\{1,2\\}", "(1,2)"],
    ["(1,2)", "(2,1)"],
    ["[1,2]", "(1,2)"],
    ["\\begin{pmatrix}1&2\\end{pmatrix}", "\\begin{pmatrix}2&1\\end{pmatrix}"],
    ["\\frac{x}{y}", "\\frac{y}{x}"],
    ["\\text{B}", "C"],
    ["\\text{east}", "\\text{west}"],
    ["100_2", "4"],
    ["3\\sqrt{2}", "3"],
    ["7", "7 or 8"],
    ["8", "7 or 8"],
    ["y>2x", "2x>y"],
    ["0.5", "50\\%"],
    ["-\\infty", "\\infty"],
    ["11:30", "11:45"],
    ["e^{-40}", "e^{-50}"],
    ["10^{-20}", "0"],
    ["3", "\\pm3"],
    ["\\overline{AB}", "\\overline{CD}"],
    ["\\angle ABC", "\\angle ABD"],
    ["\\triangle ABC", "ABC"],
    ["\\text{Saturday}", "Sunday"],
    ["\\tan 45^\\circ", "1"],
    ["f(2i)", "f(3i)"],
    ["f(i/2)", "f(i/3)"],
    ["[1,2)\\cup(2,3]", "[1,3]"],
    ["[1,2]\\cup[3,4]", "[1,4]"],
    ["f(2+i)", "f(3+i)"],
    ["x>1 \\text{ and } x<2", "(-\\infty,\\infty)"],
    ["x\\ne 1, x\\ne 2", "(-\\infty,\\infty)"],
    ["x<5 \\text{ or } x>3", "(3,5)"],
    ["x<5 or x>3", "3<x<5"],
    ["x<5 or x>3", "x<5 and x>3"],
    ["x=5, y=6", "x=6, y=5"],
    ["(y,x)=(1,2)", "(x,y)=(1,2)"],
    ["x=1, y=2", "(x,y)=(2,1)"],
    ["1, 1, 2", "1, 2, 2"],
    ["12345678901234567890", "12345678901234567891"],
    ["9007199254740993", "9007199254740992"],
    ["2 pi", "2"],
    ["3 sqrt 2", "3"],
    ["5 x", "5"],
    ["5 and a half", "5"],
    ["5 plus 3", "5"],
    ["1 2", "12"],
    ["4 5", "20"],
    ["58,50", "58,500"],
    ["58,5000", "58,500"],
    ["-x\\in[-2,7]", "x\\in[-2,7]"],
    ["2x\\in[-2,7]", "[-2,7]"],
    ["(4 5, 1)", "(20, 1)"],
  ])("%j is not %j", (a, b) => {
    expect(sameAnswer(a, b)).toBe(false);
    expect(sameAnswer(b, a)).toBe(false);
  });

  it("takes no digit of .5 for an argument", () => expect(sameAnswer("\\frac.5{2}", "0.25")).toBe(true));

  const leaf = fc.oneof(
    fc.integer({ min: -9, max: 9 }).map((n) => `(${n})`),
    fc.constantFrom("x", "y", "\\pi", "\\sqrt{2}"),
  );
  const { formula } = fc.letrec<{ formula: string }>((tie) => ({
    formula: fc.oneof(
      { maxDepth: 4, depthIdentifier: "formula" },
      leaf,
      fc.tuple(tie("formula"), tie("formula")).map(([a, b]) => `(${a}+${b})`),
      fc.tuple(tie("formula"), tie("formula")).map(([a, b]) => `${a} \\cdot ${b}`),
      tie("formula").map((a) => `(${a})^{2}`),
      fc.tuple(tie("formula"), fc.integer({ min: 1, max: 9 })).map(([a, n]) => `\\frac{${a}}{${n}}`),
    ),
  }));

  it("knows the laws of arithmetic, and that more is not the same", () => {
    fc.assert(
      fc.property(formula, formula, formula, (a, b, c) => {
        expect(sameAnswer(`(${a})(${b}+${c})`, `${c}\\cdot(${a})+(${b})(${a})`)).toBe(true);
        expect(sameAnswer(`(${a}) - (${b})`, `-((${b}) - (${a}))`)).toBe(true);
        // One more would be lost in the digits of a number of milliards that is no fraction.
        expect(sameAnswer(`(${a})+(1+(${a})^{2})`, a)).toBe(false);
      }),
    );
  });

  it("is symmetric, and true of a text and itself", () => {
    const text = fc.oneof(
      formula,
      fc.array(formula, { minLength: 1, maxLength: 3 }).map((items) => `\\{${items.join(", ")}\\}`),
    );
    fc.assert(
      fc.property(text, text, (a, b) => {
        expect(sameAnswer(a, b)).toBe(sameAnswer(b, a));
        expect(sameAnswer(`$${a}$`, a)).toBe(true);
      }),
    );
  });
});

describe("whatever a model may write", () => {
  const times = (text: string, count: number) => text.repeat(count);
  const bombs = [
    times("(", 5000),
    times("{", 1400),
    `${times("\\frac{1}{", 170)}2${times("}", 170)}`,
    `9^${times("{9^", 40)}9${times("}", 40)}`,
    `${times("2^{1000}*", 120)}1`,
    `${times("\\sqrt{", 200)}2${times("}", 200)}`,
    `${times("1/7+1/11+1/13+", 90)}1`,
    times("1000!", 200),
    times("\\pm x", 200),
    times("1,", 700),
    times("\\{1,2,3\\},", 140),
    times("|x|", 400),
    times("\\begin{pmatrix}1&2\\\\3&4\\end{pmatrix}", 35),
    times("(x+y)", 250),
    `${times("\\sin", 300)}x`,
    `${times("a_", 500)}b`,
    times("-", 1400),
    times("=", 1400),
    times("x=", 600),
    `\\sqrt[${times("\\sqrt[", 150)}`,
    `${times("3^{999}/7^{999}+", 60)}1`,
    times("((((1))))", 150),
    `${times("x\\cup", 200)}x`,
    `\\text{${times("\\text{", 200)}`,
    times("1;2,", 300),
    `${times("(1,2)\\cup", 120)}(3,4)`,
    `${times("\\sum_{i=1}^{n}", 90)}i`,
    times("\\boxed{", 2000),
    times("$", 5000),
    times("$x$ and ", 2000),
    times("\\boxed{1} and ", 2000),
    times("answer is ", 2000),
    times("1 ", 5000),
    times("\\(", 3000),
    times("\\[", 3000),
    times("\\(a", 3000),
    `\\boxed{${times("0.\\overline{1}", 100)}}`,
    times("\u0000", 500),
    "\ud800",
    `${times("300!/", 200)}1`,
    `${times("x^{x^{", 20)}2${times("}}", 20)}`,
    times("1_{2_{", 80),
    "\\log_2()",
    "\\sin()",
    "\\begin{pmatrix}1&2\\\\3&4&5\\end{pmatrix}\\begin{pmatrix}1\\\\2\\end{pmatrix}",
    "\\begin{pmatrix}1\\end{pmatrix}\\begin{pmatrix}1&2\\\\3&4\\end{pmatrix}",
  ];

  it.each(bombs.map((bomb) => [bomb.slice(0, 24), bomb] as const))(
    "%j... is judged in no more than ten times the time of Math-Verify's cases",
    (_, bomb) => {
      for (const expected of ["3", "3\\sqrt2", "\\{1,2\\}", bomb]) {
        for (const completion of [bomb, `\\boxed{${bomb}}`]) {
          const time = timeOf(() => {
            grade(completion, expected);
            sameAnswer(completion, expected);
          });
          expect(time).toBeLessThan(10 * timeOfAll);
        }
      }
    },
  );

  it("never throws", () => {
    const piece = fc.constantFrom(
      ..."\\frac \\sqrt \\boxed \\left( \\right] { } ( ) [ ] , ; : = < | ^ _ + - * / ! $ & \\\\ \\begin{pmatrix} \\end{pmatrix} \\cup \\in \\pm \\text \\infty \\{ \\} 1 23 0.5 x y f pi and or \\sum \\log sin % #### \n".split(
        " ",
      ),
    );
    const soup = fc.oneof(
      fc.string(),
      fc.array(piece, { maxLength: 30 }).map((pieces) => pieces.join("")),
    );
    fc.assert(
      fc.property(soup, soup, (completion, expected) => {
        grade(completion, expected);
        grade(`\\boxed{${completion}}`, expected);
      }),
      { numRuns: 2000 },
    );
  });
});
