import { mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { resolveConfig } from "../../../lib/config/config.js";
import type { TrainOptions } from "../../../lib/config/schema.js";
import type { Reward } from "../../../lib/reward/reward.js";
import { GrpoTrainer, type GrpoTrainerOptions } from "../../../lib/train/grpo-trainer.js";
import type { StepReport } from "../../../lib/train/run.js";
import { SftTrainer, type SftTrainerOptions } from "../../../lib/train/sft-trainer.js";
import { FakePolicy } from "./fake-policy.js";
import { base, data, makeTrainer, metricsOf, problem, sevens, small } from "./small-run.js";

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "tinylora-"));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

describe("failures", () => {
  it.each<[string, Reward, RegExp]>([
    [
      "throws",
      () => {
        throw new TypeError("no such key");
      },
      /reward "bad" on fake\/train\/\d+: threw TypeError: no such key/,
    ],
    ["rejects", () => Promise.reject(new Error("offline")), /reward "bad" on fake\/train\/\d+: threw Error: offline/],
    ["gives NaN", () => Number.NaN, /reward "bad" on fake\/train\/\d+: expected a finite number or null, found NaN/],
    [
      "gives what has no text",
      () => Object.create(null),
      /reward "bad" on \S+: expected .*, found something that has no/,
    ],
    ["gives a text", () => "1" as unknown as number, /expected a finite number or null, found "1"/],
    ["never ends", () => new Promise(() => {}), /no value within 1 s/],
    // biome-ignore lint/suspicious/noThenProperty: as promises of other libraries are
    ["never ends, with a promise of its own", () => ({ then: () => {} }) as never, /no value within 1 s/],
    [
      "loops for ever",
      () => {
        for (;;);
      },
      /reward "bad" on fake\/train\/\d+: no value within 1 s/,
    ],
  ])("a reward that %s stops the run and leaves the last checkpoint", async (_, bad, message) => {
    let calls = 0;
    const flaky: Reward = (completion, example) => (++calls > 24 ? bad(completion, example) : completion.length);
    const policy = new FakePolicy();
    const trainer = makeTrainer({ policy, run: folder, rewards: { bad: flaky }, config: { reward_timeout: 1 } });
    await expect(trainer.train()).rejects.toThrow(message);
    expect((await readdir(join(folder, "checkpoints"))).sort()).toEqual(["step-1", "step-2"]);
    expect(policy.vector).toEqual(
      (await import("../../../lib/adapter/adapter.js").then(({ Adapter }) => Adapter.load(folder))).v,
    );
    expect(await readdir(folder)).not.toContain("lock");
  });

  it("a reward that never ends is not waited for once the signal comes, or another one has failed", async () => {
    const warnings: string[] = [];
    const onWarning = ({ name }: Error) => warnings.push(name);
    process.on("warning", onWarning);
    const controller = new AbortController();
    const never: Reward = () => {
      setImmediate(() => controller.abort());
      return new Promise(() => {});
    };
    const config = { reward_timeout: 86_400 }; // a test that waits for it does not end
    const { stopped, step } = await makeTrainer({ run: folder, rewards: { never }, config }).train({
      signal: controller.signal,
    });
    expect([stopped, step]).toEqual(["aborted", 0]);
    const failing: Reward = () => Promise.reject(new Error("offline"));
    await expect(makeTrainer({ rewards: { never, failing }, config }).train()).rejects.toThrow(/"failing" .* offline/);
    process.off("warning", onWarning);
    expect(warnings).toEqual([]);
  });

  it("NaN in the passes stops the run with the last step's checkpoint", async () => {
    const policy = new FakePolicy();
    const trainer = makeTrainer({ policy, run: folder, config: { eval_steps: 0, save_steps: 100 } });
    const result = trainer.train({
      onStep: ({ step }) => {
        if (step === 3) policy.drift = Number.NaN;
      },
    });
    await expect(result).rejects.toThrow(/the loss of fake\/train\/\d+: expected finite numbers, found NaN/);
    expect((await readdir(join(folder, "checkpoints"))).sort()).toEqual(["step-0", "step-3"]);
  });

  it("counts a reward of null neither for the completion nor in its group", async () => {
    const odd: Reward = (completion) => (completion.length % 2 ? null : 1);
    const seen: StepReport[] = [];
    await makeTrainer({ rewards: { odd }, config: { max_steps: 1, eval_steps: 0 } }).train({
      onStep: (r) => void seen.push(r),
    });
    expect(seen[0]!.metrics["rewards/odd/mean"]).toBe(1);
    expect(seen[0]!.metrics.grad_norm).toBe(0);
  });

  it("warns of a reward that is always the same", async () => {
    const warnings: string[] = [];
    const config = { max_steps: 12, eval_steps: 0 };
    await makeTrainer({ rewards: { sevens, same: () => 1 }, config }).train({
      onWarning: (m) => void warnings.push(m),
    });
    expect(warnings).toEqual([expect.stringMatching(/reward "same" was 1 for every completion/)]);
  });

  it("writes nothing where the data or a reward cannot be had", async () => {
    const run = join(folder, "run");
    const policy = new FakePolicy();
    const adapter = policy.adapter();
    const missing = new GrpoTrainer({
      engine: policy,
      adapter,
      config: { ...small, data: join(folder, "none.jsonl") },
      run,
    });
    await expect(missing.train()).rejects.toThrow(/none\.jsonl/);
    const unknown = new GrpoTrainer({
      engine: policy,
      adapter,
      data,
      config: { ...small, rewards: ["./none.mjs"] },
      run,
    });
    await expect(unknown.train()).rejects.toThrow(/none\.mjs/);
    expect(await readdir(folder)).toEqual([]);
  });

  it("tells of a problem without room before anything is written, or leaves it out", async () => {
    const run = join(folder, "run");
    const long = { ...problem("long"), question: "x".repeat(300) };
    const policy = new FakePolicy();
    policy.tokenizer.encode = (text) => Array(text.length > 100 ? 250 : 4).fill(1);
    const train = [...data.train, long];
    // With 12 problems in 4 steps of 3, all 11 are used.
    const options = { policy, run, data: { ...data, train } };
    await expect(makeTrainer(options).train()).rejects.toThrow(
      /^long: the prompt's 250 tokens and 8 of the completion/,
    );
    expect(await readdir(folder)).toEqual([]);
    expect((await makeTrainer({ ...options, config: { max_steps: 1 } }).train()).step).toBe(1);

    const warnings: string[] = [];
    const evaluated = { ...options, data: { ...data, train, test: [long, ...data.test] } };
    const skipping = makeTrainer({ ...evaluated, run: join(folder, "b"), config: { skip_bad: true } });
    expect((await skipping.train({ onWarning: (m) => void warnings.push(m) })).step).toBe(4);
    const leftOut = expect.stringMatching(/^1 problems left out, the first: long: /);
    expect(warnings).toEqual([leftOut, leftOut]);
    // What is left out takes no place among those that are evaluated.
    const sampled = policy.sampled;
    const few = { eval_examples: 1, max_steps: 2, skip_bad: true };
    await makeTrainer({ ...evaluated, run: undefined, config: few }).train();
    expect(policy.sampled - sampled).toBe(2 * 12 + 2);
    const none = makeTrainer({
      ...options,
      data: { ...data, train: [long] },
      run: join(folder, "d"),
      config: { skip_bad: true },
    });
    await expect(none.train()).rejects.toThrow(/^long: the prompt's 250 tokens/);
    // What is never evaluated is not looked at.
    const config = { skip_bad: true, eval_steps: 0, max_steps: 1 };
    const trained = makeTrainer({ ...evaluated, run: join(folder, "c"), config });
    await trained.train({ onWarning: (message) => void warnings.push(message) });
    expect(warnings).toHaveLength(3);
  });

  it("tells that an answer is rewarded and a problem has none", async () => {
    const train = [{ ...problem("open"), answer: "", row: { question: "?", result: "7" } }];
    const named = new GrpoTrainer({ ...base(), data: { ...data, train } });
    await expect(named.train()).rejects.toThrow(/^open: expected an answer in answer, .*found only question, result/);
    expect((await makeTrainer({ data: { ...data, train } }).train()).step).toBe(4);
  });

  it("refuses rewards that would be one in the metrics", async () => {
    for (const rewards of [
      ["answer", "answer"],
      ["answer", "constructor"],
    ]) {
      const trainer = new GrpoTrainer({ ...base(), data, config: { ...small, rewards } });
      await expect(trainer.train()).rejects.toThrow(/^rewards: expected (different names|one of answer)/);
    }
  });

  it("starts in a folder whose run ended before its first checkpoint", async () => {
    const run = join(folder, "run");
    const policy = new FakePolicy();
    const stopped = makeTrainer({ policy, run }).train({
      onStep: () => {
        throw new Error("no");
      },
    });
    await expect(stopped).rejects.toThrow(/^no$/);
    expect((await makeTrainer({ run, config: { max_steps: 1 } }).train()).step).toBe(1);
    const metrics = await metricsOf(run);
    expect(metrics.map(({ step }) => step)).toEqual([0, 1]);
    await expect(makeTrainer({ run }).train()).rejects.toThrow(/holds a run already/);
  });

  it("refuses data without problems for training", async () => {
    await expect(makeTrainer({ data: { ...data, train: [] } }).train()).rejects.toThrow(/no problems for training/);
  });

  it("lets one process write a run", async () => {
    let second: unknown;
    await makeTrainer({ run: folder }).train({
      onStep: async ({ step }) => {
        if (step === 1)
          second = await makeTrainer({ run: folder, resume: true })
            .train()
            .catch((error: unknown) => error);
      },
    });
    expect((second as Error).message).toMatch(/being written by process \d+/);
  });
});

describe("options of callers without types", () => {
  const one = problem("one");
  const with_ = (train: unknown): unknown => ({ data: { name: "own", train, test: [] } });

  it.each<[string, unknown, string]>([
    ["no engine", { engine: undefined }, "engine: expected an Engine, found undefined"],
    ["a short string", { adapter: "tl1-x" }, 'adapter: expected an Adapter or FullWeights, found "tl1-x"'],
    ["a file", { config: "run.yaml" }, 'config: expected keys and values, found "run.yaml"'],
    ["rewards without options", { rewards: { sevens }, config: null }, "config: expected keys and values, found null"],
    ["a data set's name", { data: "gsm8k" }, 'data: expected an object with name, train and test, found "gsm8k"'],
    ["bare problems", { data: [one] }, "data: expected an object with name, train and test, found ["],
    ["an iterable", with_(new Set([one])), "data.train: expected an array of problems, found {}"],
    ["no id", with_([one, { ...one, id: undefined }]), "data.train[1].id: expected a text, found undefined"],
    ["a number", with_([{ ...one, answer: 7 }]), "data.train[0].answer: expected a text, found 7"],
    ["no row", with_([{ ...one, row: undefined }]), "data.train[0].row: expected an object"],
    ["no held-out part", { data: { name: "own", train: [one] } }, "data.test: expected an array of problems"],
    ["a reward without name", { rewards: sevens }, "rewards: expected functions by name, found a function"],
    ["a list of rewards", { rewards: [sevens] }, "rewards: expected functions by name"],
    ["a reward that is none", { rewards: { mine: 1 } }, "rewards.mine: expected a function, found 1"],
    ["a misspelt option", { reward: sevens }, "options: unknown option reward, expected some of engine, adapter,"],
    ["a run that is no path", { run: 7 }, "run: expected the path of a folder, found 7"],
  ])("%s", (_, options, message) => {
    const make = () => new GrpoTrainer({ ...base(), data, ...(options as Partial<GrpoTrainerOptions>) });
    expect(make).toThrow(message);
    expect(make).toThrow(expect.objectContaining({ code: "ERR_ARGUMENT" }));
  });

  it("a data set for evaluation beside problems of one's own, which bring theirs", () => {
    const config = { ...small, eval_data: "embedded" };
    const message = "eval_data: expected nothing beside data of one's own, whose `test` is evaluated, found";
    const error = expect.objectContaining({ code: "ERR_CONFIG", message: `${message} "embedded"` });
    expect(() => makeTrainer({ config })).toThrow(error);
    expect(() => new SftTrainer({ ...base(), data, config: { eval_data: "embedded" } })).toThrow(error);
    expect(() => makeTrainer({ config, data: { ...data, testOf: "embedded" } })).not.toThrow();
    expect(() => makeTrainer({ config, data: { ...data, testOf: "gsm8k" } })).toThrow(error);
  });

  it("rewards by name beside functions, which are used", () => {
    const make = (rewards: string[]) => () => makeTrainer({ config: { rewards } });
    expect(make(["strict"])).toThrow(
      'config.rewards: expected nothing beside `rewards`, whose functions are used, found ["strict"]',
    );
    for (const same of [["sevens"], ["answer"]]) expect(make(same)).not.toThrow();
  });

  it("rewards for what learns from worked answers", () => {
    const options: object = { ...base(), data, rewards: { sevens } };
    expect(() => new SftTrainer(options as SftTrainerOptions)).toThrow("options: unknown option rewards");
  });

  it("options that only learning from rewards has, where worked answers are learned", () => {
    const make = (config: TrainOptions) => () => new SftTrainer({ ...base(), data, config });
    expect(make({ num_generations: 4 })).toThrow("options: num_generations has no effect with sft");
    expect(make({ beta: 0.1, temperature: 0.5 })).toThrow("options: temperature, beta have no effect with sft");
    expect(make(resolveConfig({ learning_rate: 0.1 }))).not.toThrow(); // as they are by default
  });

  it("a thenable that never settles is late as a promise is", async () => {
    // biome-ignore lint/suspicious/noThenProperty: what query builders are
    const never = (() => ({ then() {} })) as unknown as Reward;
    const trainer = makeTrainer({ rewards: { never }, config: { reward_timeout: 0.2, eval_steps: 0 } });
    await expect(trainer.train()).rejects.toThrow("no value within 0.2 s");
  });
});
