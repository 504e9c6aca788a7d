import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { Worker } from "node:worker_threads";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import type { TrainOptions } from "../../../lib/config/schema.js";
import type { Example } from "../../../lib/data/example.js";
import type { Dataset } from "../../../lib/data/load.js";
import type { Reward } from "../../../lib/reward/reward.js";
import { namedRewards } from "../../../lib/reward/rewards.js";
import { score } from "../../../lib/reward/score.js";
import { GrpoTrainer } from "../../../lib/train/grpo-trainer.js";
import { FakePolicy } from "../train/fake-policy.js";

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "tinylora-reward-"));
});
afterEach(() => {
  vi.restoreAllMocks();
  return rm(folder, { recursive: true });
});

/** Of what a thread does: it comes sooner or later. */
const PATIENCE = { timeout: 600_000, interval: 5 };
const load = (path: string, seconds = 600, signal?: AbortSignal) =>
  namedRewards(undefined, { rewards: [path], reward_timeout: seconds }, signal);
const problem = (id: string): Example => ({ id, question: `question ${id}`, answer: "7", row: { id } });
const data: Dataset = {
  name: "fake",
  train: Array.from({ length: 10 }, (_, i) => problem(`fake/train/${i + 1}`)),
  test: [],
};

async function moduleOf(name: string, code: string): Promise<string> {
  const path = join(folder, `${name}.mjs`);
  await writeFile(path, code);
  return path;
}

function train(reward: string, run: string, options: TrainOptions, resume = false) {
  const engine = new FakePolicy();
  const sizes = { num_prompts: 3, num_generations: 4, max_completion_length: 8, eval_steps: 0 };
  const config = resume ? {} : { ...sizes, rewards: [reward], max_steps: 4, ...options };
  return new GrpoTrainer({ engine, adapter: engine.adapter(), data, config, run, resume }).train();
}

const LENGTH = "text.length - 0.5 * (problem.row.id.length % 3)";
/** Well for its first 24 calls, two steps, then `bad`, until the file `well` is there. */
const flaky = (bad: string) => `
  import { existsSync } from "node:fs";
  let calls = 0;
  export default async (text, problem) => {
    await null;
    if (++calls > 24 && !existsSync(${JSON.stringify(join(folder, "well"))})) { ${bad} }
    return ${LENGTH};
  };`;

describe("a module's reward", () => {
  it("is TypeScript where Node runs that, and else says from which on it does", async () => {
    const path = join(folder, "typed.mts");
    await writeFile(path, "export default (text: string): number => text.length;");
    const loaded = load(path);
    if ("typescript" in process.features && process.features.typescript)
      expect(await loaded).toMatchObject([{ name: "typed" }]);
    else
      await expect(loaded).rejects.toThrow(/typed\.mts cannot be loaded: Node runs TypeScript from 22\.18 on, found 2/);
  });

  it.each([
    ["own.cjs", "module.exports = (text) => text.length;"],
    ["own.mjs", "export default (text) => text.length;"],
    ["own.js", "module.exports = (text) => text.length;"],
  ])("is found in the working folder as %s", async (name, code) => {
    await writeFile(join(folder, name), code);
    vi.spyOn(process, "cwd").mockReturnValue(folder);
    const named = await load(name);
    expect(named).toMatchObject([{ name: "own" }]);
    expect(await score(named, "seven", problem("a"), 600)).toEqual([5]);
  });

  it.each<[string, string, RegExp, number?]>([
    ["loops after an await", "for (;;);", /^reward "bad" on fake\/train\/\d+: no value within 1 s$/, 1],
    ["never ends", "await new Promise(() => {});", /^reward "bad" on fake\/train\/\d+: no value within 1 s$/, 1],
    ["throws what has no text", "throw Object.create(null)", /^reward "bad" on \S+: threw something that has no text/],
    ["throws a text of megabytes", 'throw "a".repeat(1e8)', /^reward "bad" on \S+: threw a{1000}\.\.\./],
    ["throws", "null.key", /^reward "bad" on fake\/train\/\d+: threw TypeError: Cannot read properties of null/],
    ["gives NaN", "return NaN", /^reward "bad" on fake\/train\/\d+: expected a finite number or null, found NaN$/],
    ["gives what has no text", "return Object.create(null)", /^reward "bad" on \S+: expected .*, found something that/],
    ["gives a text", 'return "1"', /^reward "bad" on fake\/train\/\d+: expected a finite number or null, found "1"$/],
    [
      "ends its thread",
      "process.exit(3)",
      /^reward "bad" on fake\/train\/\d+: threw Error: its thread ended with code 3$/,
    ],
    [
      "throws where nobody waits",
      'await new Promise(() => setTimeout(() => { throw new Error("late") }));',
      /^reward "bad" on fake\/train\/\d+: threw Error: late$/,
    ],
  ])("that %s ends the run, which goes on to the same numbers", async (_, bad, message, reward_timeout = 30) => {
    const [straight, stopped] = [join(folder, "straight"), join(folder, "stopped")];
    const whole = await train(await moduleOf("good", `export default (text, problem) => ${LENGTH};`), straight, {});
    const path = await moduleOf("bad", flaky(bad));
    await load(path); // which takes none of the run's seconds then
    await expect(train(path, stopped, { reward_timeout })).rejects.toThrow(message);
    expect((await readdir(join(stopped, "checkpoints"))).sort()).toEqual(["step-0", "step-1", "step-2"]);
    expect(await readdir(stopped)).not.toContain("lock");
    await writeFile(join(folder, "well"), "");
    await load(path);
    const { step, adapter } = await train("", stopped, {}, true);
    expect(step).toBe(4);
    expect(adapter.v).toEqual(whole.adapter.v);
  });

  it("answers other runs although one of them loops", async () => {
    const path = await moduleOf(
      "shared",
      'export default async (text) => { await null; if (text === "loop") for (;;); return 1; };',
    );
    const runs = await Promise.all([load(path), load(path)]);
    const [looping, other] = [score(runs[0]!, "loop", problem("a"), 0.5), score(runs[1]!, "well", problem("b"), 600)];
    await expect(looping).rejects.toThrow(/reward "shared" on a: no value within 0.5 s/);
    expect(await other).toEqual([1]);
  });

  it("answers other runs although its thread is ended again while it loads", async () => {
    const path = await moduleOf(
      "slow",
      `import { appendFileSync, readFileSync } from "node:fs";
       appendFileSync(import.meta.filename + ".log", ".");
       if (readFileSync(import.meta.filename + ".log", "utf8") === "..") for (;;); // the second thread loads for ever
       export default async (text) => { await null; if (text === "loop") for (;;); return 1; };`,
    );
    const [looping, leaving, staying] = [await load(path), await load(path), await load(path)];
    const controller = new AbortController();
    const loops = score(looping, "loop", problem("a"), 0.3).catch((error: Error) => error.message);
    const left = score(leaving, "well", problem("b"), 600, controller.signal).catch((error: Error) => error.message);
    const asked = score(staying, "well", problem("c"), 600);
    expect(await loops).toMatch(/no value within 0\.3 s/);
    const later = score(staying, "well", problem("d"), 600); // waits for that thread
    await vi.waitFor(async () => expect(await readFile(`${path}.log`, "utf8")).toBe(".."), PATIENCE);
    controller.abort(new Error("given up"));
    expect(await left).toBe("given up");
    expect(await Promise.all([asked, later])).toEqual([[1], [1]]);
  });

  it("that never ends is not waited for once the signal comes, and answers the next run", async () => {
    const path = await moduleOf(
      "idle",
      'export default async (text) => { await null; if (text === "loop") for (;;); return text === "wait" ? new Promise(() => {}) : 1; };',
    );
    for (const text of ["loop", "wait"]) {
      const controller = new AbortController();
      const [reward, other] = [await load(path), await load(path)];
      const scores = [text, "well", text].map((one) => score(reward, one, problem("a"), 600, controller.signal));
      const answered = score(other, "well", problem("b"), 600);
      setTimeout(() => controller.abort(new Error("given up")), 300);
      const outcomes = await Promise.allSettled(scores);
      for (const one of [outcomes[0], outcomes[2]]) {
        expect(one).toMatchObject({ status: "rejected", reason: { message: "given up" } });
      }
      expect(await answered).toEqual([1]);
      expect(await score(reward, "well", problem("c"), 600)).toEqual([1]);
    }
  });

  it("may not take for ever to load", async () => {
    const path = await moduleOf("heavy", "for (;;); export default () => 1;");
    await expect(load(path, 0.5)).rejects.toMatchObject({
      code: "ERR_CONFIG",
      message: expect.stringMatching(/^rewards: .*heavy\.mjs: not loaded within 0\.5 s \(reward_timeout\)$/),
    });
    const controller = new AbortController();
    setTimeout(() => controller.abort(new Error("given up")), 100);
    await expect(load(path, 600, controller.signal)).rejects.toThrow(/^given up$/);
    const waiting = await moduleOf("waiting", "await new Promise(() => {}); export default () => 1;");
    await expect(load(waiting)).rejects.toThrow(
      /^rewards: .*waiting\.mjs cannot be loaded: an await outside of its functions never ends$/,
    );
  });

  it("does nothing more once its loading was given up", async () => {
    const path = await moduleOf(
      "busy",
      `import { appendFileSync } from "node:fs";
       for (;;) { await new Promise((resolve) => setTimeout(resolve, 5)); appendFileSync(import.meta.filename + ".log", "."); }
       export default () => 1;`,
    );
    const ended = vi.spyOn(Worker.prototype, "terminate");
    const controller = new AbortController();
    const loading = expect(load(path, 600, controller.signal)).rejects.toThrow(/^given up$/);
    const log = () => readFile(`${path}.log`, "utf8");
    await vi.waitFor(log, PATIENCE);
    controller.abort(new Error("given up"));
    await loading;
    await Promise.all(ended.mock.results.map(({ value }) => value));
    const done = await log();
    await sleep(200);
    expect(await log()).toBe(done);
  });

  it("leaves no timer behind, which would hold the process", async () => {
    const own = await load(await moduleOf("quick", "export default () => 1;"));
    const [made, cleared] = [vi.spyOn(globalThis, "setTimeout"), vi.spyOn(globalThis, "clearTimeout")];
    expect(await score(own, "text", problem("a"), 60)).toEqual([1]);
    expect(await score([{ name: "late", reward: async () => 2 }], "text", problem("a"), 60)).toEqual([2]);
    const ended = cleared.mock.calls.map(([timer]) => timer);
    expect(made.mock.results.map(({ value }) => ended.includes(value))).toEqual([true, true, true]); // of the wait for the thread, of both calls
  });

  it("is refused where there is no function", async () => {
    const given = async (code: string) => load(await moduleOf(`m${code.length}`, code));
    await expect(given("export default 1")).rejects.toMatchObject({
      code: "ERR_CONFIG",
      message: expect.stringMatching(/^rewards: .*m16\.mjs: expected a function as default export$/),
    });
    await expect(given("export default  (")).rejects.toThrow(
      /^rewards: (.*m17\.mjs) cannot be loaded: Unexpected end of input \(`node \1` says in which line\)$/,
    );
    await expect(load(join(folder, "none.mjs"))).rejects.toThrow(/none\.mjs cannot be loaded: no such file$/);
    await expect(load("none.ts")).rejects.toThrow(/^rewards: none\.ts cannot be loaded: no such file$/);
  });
});

it("a function that fails after the signal leaves no rejection that ends the process", async () => {
  const left: unknown[] = [];
  const listener = (reason: unknown) => void left.push(reason);
  process.on("unhandledRejection", listener);
  const controller = new AbortController();
  const late: Reward = async () => {
    controller.abort();
    await sleep(5);
    throw new Error("late");
  };
  for (let call = 0; call < 2; call++) {
    const scored = score([{ name: "late", reward: late }], "text", problem("a"), 5, controller.signal);
    await expect(scored).rejects.toThrow(/abort/i);
  }
  await sleep(30);
  process.off("unhandledRejection", listener);
  expect(left).toEqual([]);
});
