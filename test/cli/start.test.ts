import { expect, it } from "vitest";
import { Adapter } from "../../lib/index.js";
import { runCli } from "./run.js";

it("`npm start` shows the gain of the embedded model, a solution before and after, and the numbers as a string", async () => {
  const few = ["--max-steps", "3", "--num-prompts", "4", "--eval-steps", "3", "--eval-examples", "20"];
  const { code, stdout, stderr } = await runCli(["start", ...few]);
  expect(stderr).toBe("");
  expect(code).toBe(0);
  expect(stdout).toMatch(/^before {2}\d\d\.\d % of 200 held-out problems right \(greedy\)$/m);
  expect(stdout).toMatch(/^step {3}1\/3 {2}right while sampling \d+\.\d %$/m);
  expect(stdout).toMatch(/^step {3}3\/3 {2}right while sampling \d+\.\d %, held-out \d+\.\d %$/m);
  expect(stdout).toMatch(/^after {3}\d+\.\d % \(before \d\d\.\d %\), \d+ s in all$/m);
  expect(stdout).not.toContain("NaN");
  const [text] = /tl1-[\w-]+/.exec(stdout)!;
  expect((await Adapter.load(text)).v).toHaveLength(13);
});
