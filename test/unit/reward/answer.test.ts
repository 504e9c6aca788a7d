import { describe, expect, it } from "vitest";
import { grade, sameAnswer } from "../../../lib/reward/answer.js";
import { lastNumber, wholeNumber } from "../../../lib/reward/number.js";
import { strictAnswer } from "../../../lib/reward/read-answer.js";
import { rewards } from "../../../lib/reward/rewards.js";
import { linear } from "../../linear.js";

describe("lastNumber", () => {
  it.each<[string, number | null]>([
    ["no digits here", null],
    ["", null],
    ["The answer is 18.", 18],
    ["She pays $1,234.50.", 1234.5],
    ["1,000,000 people", 1000000],
    ["1,23 and 4", 4],
    ["first 3, then 4,", 4],
    ["x = -5", -5],
    ["x = −5", -5],
    ["loses -$5", -5],
    ["loses $-5", -5],
    ["10-5", 5],
    ["10 - 5 = 5", 5],
    ["pages 3–7", 7],
    ["about .5 of it", 0.5],
    ["3/4 of the cake", 0.75],
    ["12 / 4 is", 3],
    ["1 1/2 cups", 1.5],
    ["1½ cups", 1.5],
    ["-2 1/2", -2.5],
    ["\\frac{3}{4}", 0.75],
    ["-\\dfrac{3}{4}", -0.75],
    ["2\\frac{1}{2}", 2.5],
    ["50%", 50],
    ["50\\%", 50],
    ["\\$18", 18],
    ["1{,}000", 1000],
    ["10\\,000", 10000],
    ["10\u202f000", 10000],
    ["1e3 steps", 1000],
    ["20 apples and 5 pears in 2 bags", 2],
    ["3.", 3],
    ["v1.2.3", 3],
    ["(7)", 7],
    ["**42**", 42],
    ["1/0 and then", null],
    ["5 dollars each x 3", 3],
    ["€12", 12],
    ["the year 2024!", 2024],
  ])("%j is %s", (text, expected) => expect(lastNumber(text)).toBe(expected));
});

describe("wholeNumber", () => {
  it.each<[string, number | null]>([
    ["18 dollars", 18],
    ["90^\\circ", 90],
    ["25\\%", 25],
    ["12\\text{ cm}^2", 12],
    ["3\\sqrt{2}", null],
    ["(3, 4)", null],
    ["x + 1", null],
    ["2x", null],
    ["1/2", 0.5],
    ["1/2%", 0.5],
    ["12 1/2 %", 12.5],
    ["12½ percent", 12.5],
    ["33\\frac{1}{3}\\%", 33 + 1 / 3],
  ])("%j is %s", (text, expected) => expect(wholeNumber(text)).toBe(expected));
});

describe("strictAnswer", () => {
  it.each<[string, string | null]>([
    ["so 8\n#### 8", "8"],
    ["#### 1\nno wait\n#### 2", "2"],
    ["####\n18", "18"],
    ["####18 dollars.", "18 dollars."],
    ["#### ", null],
    ["#### ...", null],
    ["\\boxed{5}", "5"],
    ["\\boxed {5}", "5"],
    ["\\boxed{\\frac{1}{2}}", "\\frac{1}{2}"],
    ["\\boxed{1} then \\boxed{a_{b_{c}}}", "a_{b_{c}}"],
    ["\\boxed{1} and \\boxed{2}", "1, 2"],
    ["\\boxed{\\{1, 2\\}}", "\\{1, 2\\}"],
    ["\\boxed{5", null],
    ["\\boxed{3} then \\boxed{5", "3"],
    ["\\boxed{}", null],
    ["\\boxed", null],
    ["just 5", null],
    ["### 5", null],
    ["##### 5", "5"],
    ["#### **5**", "5"],
    ["**#### 5**", "5"],
    ["#### `5`", "5"],
    ["#### **5** apples", "5 apples"],
    ["\\fbox{5}", "5"],
    ["or $\\framebox{204}$ minutes -sepehr2010", "204"],
  ])("%j is %j", (text, expected) => expect(strictAnswer(text)).toBe(expected));
});

describe("sameAnswer", () => {
  it.each<[string, string, boolean]>([
    ["18", "18", true],
    ["$18.00", "18", true],
    ["1,080", "1080", true],
    ["1080", "1,080", true],
    ["109,200,050", "109,200,000", false],
    ["5 + 3 = 8", "8", true],
    ["x=5", "5", true],
    ["2/3", "0.6666666667", true],
    ["66 2/3 percent", "66\\frac{2}{3}\\%", true],
    ["33\\frac13\\%", "33 1/3", true],
    ["33 1/3 %", "33\\dfrac1{3}", true],
    ["\\frac{1}{3}5", "5", false],
    ["1/2 %", "0.5", true],
    ["1/2 %", "0.005", false],
    ["50%", "1/2", false],
    ["20% extra credit", "20 extra credit", true],
    ["n\\%", "n", true],
    ["0.67", "0.6666666667", false],
    ["0.5", "1/2", true],
    ["3.0000008", "3", true],
    ["3.0000015", "3", false],
    ["0.0000015", "0.000001", false],
    ["-3", "3", false],
    ["18.5", "18", false],
    ["eighteen", "18", false],
    ["", "18", false],
    ["18", "", false],
    ["", "", false],
    ["\\left(3, \\frac{\\pi}{2}\\right)", "\\left( 3, \\frac{\\pi}{2} \\right)", true],
    ["\\dfrac{\\pi}{2}", "\\frac{\\pi}{2}", true],
    ["3\\sqrt{2}", "3\\sqrt{2}", true],
    ["3", "3\\sqrt{2}", false],
    ["\\text{Evelyn}", "Evelyn", true],
    ["10\\text{ cm}", "10", true],
    ["6 = 8", "8", false],
    ["34 + 3 = 6 = 8", "8", false],
    ["3 + 4 = 8 = 8.0", "8", true],
    ["1/2 = 0.5", "0.5", true],
    ["2/3 = 0.67", "0.67", true],
    ["1 hour = 60 minutes", "60", true],
    ["5x - 7y + 4 = 0", "0", false],
    ["2x = 10", "10", false],
    ["f(2) = 7", "7", true],
    ["x_1 = 5", "5", true],
    ["n = 3k + 1 = 7", "7", true],
    ["3 x 5 = 15", "15", true],
    ["5 m + 3 m = 8 m", "8", true],
    ["10 apples - 5 apples = 5 apples", "5", true],
    ["60 km/h", "60", true],
    ["5\\,m^2", "5", true],
    ["20 °C", "20", true],
    ["10 times", "10", true],
    ["20 apples in 2 bags", "20", true],
    ["20 apples in 2 bags", "2", false],
    ["18 dollars or $18.00", "18", true],
    ["5 apples or 6 apples", "5", false],
    ["5 apples or 6 apples", "6", false],
    ["5 apples, 6 pears", "5", false],
    ["5 apples 6 pears", "5", false],
    ["1 apple, 2 apples, 3 apples", "1", false],
    ["1 2 3 4 apples", "1", false],
    ["either 5 or maybe 6", "5", false],
    ["between 5 and 6", "5", false],
    ["5 to 6", "5", false],
    ["2 hours 30 minutes", "2", false],
    ["May 5, 2024", "5", false],
    ["not 5", "5", false],
    ["it isn't 5", "5", false],
  ])("%j for %j: %s", (answer, expected, same) => expect(sameAnswer(answer, expected)).toBe(same));
});

describe("grade", () => {
  it("tells strict, lenient and format apart", () => {
    expect(grade("so 8\n#### 8", "8")).toEqual({ strict: true, lenient: true, format: true, answer: "8" });
    expect(grade("the answer is 8.", "8")).toEqual({ strict: false, lenient: true, format: false, answer: "8" });
    expect(grade("8\n#### 9", "8")).toEqual({ strict: false, lenient: false, format: true, answer: "9" });
    expect(grade("The answer is $\\$32,\\!348$.", "32348")).toMatchObject({ lenient: true, answer: "\\$32,\\!348" });
    for (const text of ["it is 8", "It's 8.", "So 8", "we do 3 + 5 = 8", "x is 8"]) {
      expect(grade(text, "8"), text).toMatchObject({ strict: false, lenient: true, answer: "8" });
    }
    expect(grade("I do not know", "8")).toEqual({ strict: false, lenient: false, format: false, answer: null });
  });

  it("is what the rewards with names give", () => {
    const example = { id: "sum", question: "3 + 5?", answer: "8", row: {} };
    const given = (text: string) => Object.entries(rewards).map(([name, reward]) => `${name} ${reward(text, example)}`);
    expect(given("5 + 3 = 8\n#### 8")).toEqual(["answer 1", "strict 1", "format 1", `digits ${4 / 16}`]);
    expect(given("it is 8")).toEqual(["answer 1", "strict 0", "format 0", `digits ${1 / 7}`]);
    expect(given("\\boxed{9}")).toEqual(["answer 0", "strict 0", "format 1", `digits ${1 / 9}`]);
    expect(given("")).toEqual(["answer 0", "strict 0", "format 0", "digits 0"]);
  });

  it.each<[string, string]>([
    ["digits and commas", "1".repeat(2e6) + ",".repeat(2e6) + "1,".repeat(2e6)],
    ["boxes", "\\boxed{".repeat(2e5)],
    ["dashes", "- ".repeat(5e6)],
    ["spaces", " ".repeat(5e6)],
  ])("reads a line of millions of %s", (_, text) => {
    linear(() => grade(text, "8"));
  });
});
