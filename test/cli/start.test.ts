import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, it } from "vitest";
import { Adapter } from "../../lib/index.js";
import { lines, runCli } from "./run.js";

it("`npm start` takes 13 numbers of the embedded model from 30 to 60 % right to 25 points more", async () => {
  const { code, stdout, stderr } = await runCli(["start"]);
  expect(stderr).toBe("");
  expect(code).toBe(0);
  const [, before] = /^before {2}(\d\d\.\d) % of 200 held-out problems right \(greedy\)$/m.exec(stdout)!;
  const [, after, same] = /^after {3}(\d\d\.\d) % \(before (\d\d\.\d) %\), \d+ s in all$/m.exec(stdout)!;
  expect(Number(before)).toBeGreaterThanOrEqual(30);
  expect(Number(before)).toBeLessThanOrEqual(60);
  expect(same).toBe(before);
  expect(Number(after) - Number(before)).toBeGreaterThanOrEqual(25);
  expect(stdout).toMatch(/^step {2}30\/30 {2}right while sampling \d+\.\d %$/m);
  expect(stdout).toMatch(/^ {2}before: .+\n {2}after: {2}.*#### \d+/m);
  expect(stdout).toContain("What to try next");
});

it("`npm start` shows the gain of the embedded model while it trains, and the numbers as a string", async () => {
  const few = ["--max-steps", "3", "--num-prompts", "4", "--eval-steps", "3", "--eval-examples", "20"];
  const { code, stdout, stderr } = await runCli(["start", ...few]);
  expect(stderr).toBe("");
  expect(code).toBe(0);
  expect(stdout).toMatch(/^before {2}\d\d\.\d % of 200 held-out problems right \(greedy\)$/m);
  expect(stdout).toMatch(/^step {3}1\/3 {2}right while sampling \d+\.\d %$/m);
  expect(stdout).not.toMatch(/^step {3}2\/3/m); // without a terminal: the first, every fifth, and what is evaluated
  expect(stdout).toMatch(/^step {3}3\/3 {2}right while sampling \d+\.\d %, held-out \d+\.\d %$/m);
  expect(stdout).toMatch(/^after {3}\d+\.\d % \(before \d\d\.\d %\), \d+ s in all$/m);
  expect(stdout).not.toContain("NaN");
  const [text] = /tl1-[\w-]+/.exec(stdout)!;
  expect((await Adapter.load(text)).v).toHaveLength(13);
});

it("`npm start` trains one number, too, and calls it so", async () => {
  const { stdout } = await runCli(["start", "--u", "1", "--max-steps", "1", "--num-prompts", "2"]);
  expect(stdout).toMatch(/^GRPO changes 1 number; /m);
  expect(stdout).toMatch(/^The 1 number as a string, /m);
});

it("`npm start` that is interrupted names what goes on, where a folder was given", async () => {
  const folder = await mkdtemp(join(tmpdir(), "tinylora start "));
  const run = join(folder, "run");
  const few = ["--num-prompts", "2", "--max-steps", "99999"];
  const kept = await runCli(["start", ...few, "--run", run], { interruptAfter: "step   5/99999" });
  expect(kept.code).toBe(130);
  const [, step] = /^stopped after step (\d+): go on with `npx tinylora-native train --resume '(.*)'`$/m.exec(
    kept.stderr,
  )!;
  expect(kept.stderr).toContain(`--resume '${run}'`);
  const resumed = await runCli(["train", "--resume", run, "--max-steps", String(Number(step) + 1)]);
  expect(resumed.stdout).toContain(`step ${Number(step) + 1}/${Number(step) + 1} `);
  const again = await runCli(["start", ...few, "--run", run]);
  expect(again.stderr).toMatch(/^error: .*: holds a run already/);
  expect(again.stdout).toBe("");

  const lost = await runCli(["start", ...few], { interruptAfter: "step   5/99999" });
  expect(lost.stderr).toMatch(/^stopped after step \d+\ninterrupted\n$/);
  await rm(folder, { recursive: true });
});

it("train takes the embedded model with no other flag, named or by TINYLORA_MODEL", async () => {
  const folder = await mkdtemp(join(tmpdir(), "tinylora-embedded-"));
  const train = ["train", "--max-steps", "1", "--run"];
  const named = await runCli([...train, join(folder, "named"), "--model", "embedded"]);
  expect([named.code, named.stderr]).toEqual([
    0,
    expect.stringMatching(/^training tinylora of \S*embedded on embedded: /),
  ]);
  const asked = await runCli([...train, join(folder, "asked")], { env: { TINYLORA_MODEL: "embedded" } });
  expect(asked.code, asked.stderr).toBe(0);
  const v = (stdout: string) => /tl1-\S+/.exec(stdout)![0];
  expect(v(asked.stdout)).toBe(v(named.stdout));
  await rm(folder, { recursive: true });
});

it("`npm start` refuses what train refuses", async () => {
  const { code, stderr } = await runCli(["start", "--u", "0"]);
  expect(code).not.toBe(0);
  expect(lines(stderr)).toHaveLength(1);
  expect(stderr).toMatch(/u\b.*found/);
});
