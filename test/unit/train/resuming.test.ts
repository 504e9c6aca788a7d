import { existsSync } from "node:fs";
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { TrainOptions } from "../../../lib/config/schema.js";
import { lockFolder } from "../../../lib/run/lock.js";
import { GrpoTrainer } from "../../../lib/train/grpo-trainer.js";
import { arithmeticOf } from "../../../lib/train/open-run.js";
import { FakePolicy } from "./fake-policy.js";
import { data, makeTrainer, metricsOf, newest, sevens } from "./small-run.js";

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "tinylora-"));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

it("knows the arithmetic of a device by all but its threads", () => {
  const devices = [
    "cpu (avx512-bf16, 2 threads)",
    "cpu (avx2, 1 thread)",
    "reference (16 threads)",
    "cuda (NVIDIA H200)",
  ];
  const found = ["cpu (avx512-bf16)", "cpu (avx2)", "reference", "cuda (NVIDIA H200)"];
  expect(devices.map(arithmeticOf)).toEqual(found);
});

describe("resuming", () => {
  it.each<[string, TrainOptions]>([
    ["adamw", {}],
    ["sgd with momentum", { optim: "sgd", momentum: 0.9 }],
    [
      "KL, cosine, uniform init",
      { beta: 0.1, lr_scheduler_type: "cosine", warmup_steps: 2, init: "uniform", num_iterations: 2 },
    ],
  ])("4 steps are 2 + stop + 2: %s", async (_, options) => {
    const [straight, broken] = [join(folder, "a"), join(folder, "b")];
    await makeTrainer({ run: straight, config: options }).train();
    const stop = new AbortController();
    const first = await makeTrainer({ run: broken, config: options }).train({
      signal: stop.signal,
      onStep: ({ step }) => {
        if (step === 2) stop.abort();
      },
    });
    expect(first).toMatchObject({ stopped: "aborted", step: 2 });
    const second = await makeTrainer({ run: broken, resume: true }).train();
    expect(second).toMatchObject({ stopped: "finished", step: 4 });
    expect(await newest(broken, 4)).toBe(await newest(straight, 4));
    expect(await metricsOf(broken)).toEqual(await metricsOf(straight));
    for (const name of await readdir(join(straight, "completions"))) {
      const [a, b] = await Promise.all(
        [straight, broken].map((run) => readFile(join(run, "completions", name), "utf8")),
      );
      expect(b).toBe(a);
    }
    expect((await readdir(join(broken, "checkpoints"))).sort()).toEqual(["step-3", "step-4"]);
    expect(await readdir(broken)).not.toContain("lock");
  });

  it("gives up the step that an abort falls into, in sampling as in the passes", async () => {
    const straight = join(folder, "straight");
    await makeTrainer({ run: straight }).train();
    for (const after of [0, 1, 5, 11, 12, 13, 20, 30]) {
      const run = join(folder, `after-${after}`);
      const policy = new FakePolicy();
      const stop = new AbortController();
      policy.onSampled = (count) => {
        if (count === after) stop.abort();
      };
      if (after === 0) stop.abort();
      const result = await makeTrainer({ policy, run }).train({ signal: stop.signal });
      expect(result.stopped).toBe("aborted");
      expect(policy.vector).toEqual(result.adapter.v);
      await makeTrainer({ run, resume: true }).train();
      expect(await newest(run, 4)).toBe(await newest(straight, 4));
      expect(await metricsOf(run)).toEqual(await metricsOf(straight));
    }
  });

  it("goes back to the checkpoint before a broken one", async () => {
    const [straight, broken] = [join(folder, "a"), join(folder, "b")];
    await makeTrainer({ run: straight }).train();
    await makeTrainer({ run: broken }).train();
    const path = join(broken, "checkpoints", "step-4", "state.json");
    await writeFile(path, (await readFile(path, "utf8")).replace(/"updates": \d+/, '"updates": 9'));
    await writeFile(
      join(broken, "metrics.jsonl"),
      `${await readFile(join(broken, "metrics.jsonl"), "utf8")}{"step": 5, "rew`,
    );
    const warnings: string[] = [];
    await makeTrainer({ run: broken, resume: true }).train({ onWarning: (message) => void warnings.push(message) });
    expect(warnings[0]).toMatch(/step-4.*checksum/);
    expect(await newest(broken, 4)).toBe(await newest(straight, 4));
    expect(await metricsOf(broken)).toEqual(await metricsOf(straight));
  });

  it("refuses another optimiser's state, and keeps it", async () => {
    const run = join(folder, "changed");
    await makeTrainer({ run }).train();
    const file = join(run, "config.json");
    await writeFile(file, (await readFile(file, "utf8")).replace('"optim": "adamw"', '"optim": "sgd"'));
    await expect(makeTrainer({ run, resume: true }).train()).rejects.toThrow(
      /optim: expected the moments of sgd \(5 numbers\), found those of another \(5 and 5\); .*all is kept/,
    );
    expect(await readdir(join(run, "checkpoints"))).toContain("step-4");
  });

  it("warns where the prompts are others, as those of a chat template with a date are on another day", async () => {
    const dated = (day: number) => {
      const policy = new FakePolicy();
      const { encodeChat } = policy.tokenizer;
      policy.tokenizer.encodeChat = (messages) => [day, ...encodeChat(messages)];
      return policy;
    };
    const warnings: string[] = [];
    for (const [day, prompt_style] of [[1], [1], [2], [1, "text"], [2, "text"]] as [number, "text"?][]) {
      const run = join(folder, prompt_style ?? "chat");
      const resume = existsSync(run);
      const trainer = makeTrainer({ policy: dated(day), run, resume, config: resume ? {} : { prompt_style } });
      await trainer.train({ onWarning: (message) => void warnings.push(message) });
    }
    expect(warnings).toEqual([
      expect.stringMatching(/chat: its prompts are others than those that it began with, .*: not with the same bits$/),
    ]);
  });

  it("goes on with a run that did not write down its problems yet, whatever they are", async () => {
    await makeTrainer({ run: folder, config: { max_steps: 2 } }).train();
    const file = join(folder, "config.json");
    await writeFile(file, (await readFile(file, "utf8")).replace(/"problems": "\w+",\s*/, ""));
    const others = { ...data, train: data.train.slice(1) };
    const resumed = makeTrainer({ run: folder, data: others, resume: true, config: { max_steps: 3 } });
    expect(await resumed.train()).toMatchObject({ step: 3 });
  });

  it("looks again at what the folder holds once the SVD is made, which takes its time", async () => {
    await makeTrainer({ run: folder, config: { max_steps: 2 } }).train();
    const file = join(folder, "config.json");
    const policy = new FakePolicy();
    policy.attach = async () => {
      await writeFile(file, (await readFile(file, "utf8")).replace(policy.fingerprint, "fedcba9876543210"));
    };
    const resumed = makeTrainer({ policy, run: folder, resume: true, config: { max_steps: 3 } });
    await expect(resumed.train()).rejects.toThrow(
      `expected to train 5 numbers of the model fedcba9876543210, found 5 of ${policy.fingerprint}`,
    );
    expect(await readdir(folder)).not.toContain("lock");
  });

  it("goes on for longer than was planned", async () => {
    const [straight, longer] = [join(folder, "a"), join(folder, "b")];
    await makeTrainer({ run: straight, config: { eval_steps: 0 } }).train();
    await makeTrainer({ run: longer, config: { eval_steps: 0, max_steps: 2 } }).train();
    const policy = new FakePolicy();
    const options = { engine: policy, adapter: policy.adapter(), data, rewards: { sevens }, run: longer, resume: true };
    await new GrpoTrainer({ ...options, config: { max_steps: 4 } }).train();
    expect(await newest(longer, 4)).toBe(await newest(straight, 4));

    // A run that is finished makes no step, but leaves the engine with what it trained, as every run does.
    const after = new FakePolicy();
    const again = { ...options, engine: after, adapter: after.adapter() };
    const { adapter, step } = await new GrpoTrainer(again).train();
    expect([step, after.sampled]).toEqual([4, 0]);
    expect(after.vector).toEqual(adapter.v);
    expect(after.vector).toEqual(policy.vector);
  });

  it("refuses options that it did not begin with, which would have no effect", async () => {
    await makeTrainer({ run: folder }).train();
    const go = (config: TrainOptions) => makeTrainer({ run: folder, resume: true, config }).train();
    await expect(go({ learning_rate: 0.2, temperature: 0.5 })).rejects.toThrow(
      `${folder}: a run goes on with the options that it began with: learning_rate: expected 0.1, found 0.2; temperature: expected 1, found 0.5`,
    );
    const machine = { model: "elsewhere", device: "reference", threads: 2, max_sequences: 2, cache_tokens: 64 };
    const same = { temperature: 1, learning_rate: undefined, scale_rewards: true } as const;
    expect((await go({ ...same, ...machine, gradient_checkpointing: true, keep_activations: true })).step).toBe(4);
  });

  it("refuses rewards of other names than it began with", async () => {
    await makeTrainer({ run: folder }).train();
    const policy = new FakePolicy();
    const options = { engine: policy, adapter: policy.adapter(), data, run: folder, resume: true };
    await expect(new GrpoTrainer({ ...options, rewards: { eights: sevens } }).train()).rejects.toThrow(
      `${folder}: expected the rewards that it began with (sevens), found eights`,
    );
  });

  it("tells before the SVD that it has made more steps, or that another process has the folder", async () => {
    await makeTrainer({ run: folder }).train();
    const policy = new FakePolicy();
    let attached = 0;
    policy.attach = async () => void attached++;
    const go = (config: TrainOptions, run = folder) =>
      makeTrainer({ policy, run, resume: run === folder, config }).train();
    await expect(go({ max_steps: 3 })).rejects.toThrow(/max_steps: expected at least 4, the steps made, found 3$/);
    const unlock = await lockFolder(folder);
    await expect(go({})).rejects.toThrow(/lock: this run is being written by process \d+/);
    await unlock();
    const begun = join(folder, "begun"); // by a process that has no checkpoint yet
    await mkdir(begun);
    const end = await lockFolder(begun);
    await expect(go({}, begun)).rejects.toThrow(/lock: this run is being written by process \d+/);
    await end();
    expect(attached).toBe(0);
  });

  it("lets the folder go where a callback throws before the first step", async () => {
    await makeTrainer({ run: folder }).train();
    const policy = new FakePolicy();
    policy.tokenizer.encodeChat = () => [1];
    const onWarning = (message: string) => {
      throw new Error(`program: ${message}`);
    };
    await expect(makeTrainer({ policy, run: folder, resume: true }).train({ onWarning })).rejects.toThrow(
      /^program: .*its prompts are others/,
    );
    expect(await readdir(folder)).not.toContain("lock");
  });

  it("refuses a number of steps that its other options do not allow, and stays what it was", async () => {
    const config = { warmup_steps: 3 };
    await makeTrainer({ run: folder, config })
      .train({
        onStep: ({ step }) => {
          if (step === 1) throw new Error("enough");
        },
      })
      .catch(() => {});
    const shorter = makeTrainer({ run: folder, resume: true, config: { max_steps: 2 } });
    await expect(shorter.train()).rejects.toThrow(/warmup_steps: expected at most max_steps \(2\), found 3$/);
    expect(await makeTrainer({ run: folder, resume: true, config: { max_steps: 3 } }).train()).toMatchObject({
      step: 3,
    });
  });
});
