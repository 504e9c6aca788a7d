import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { Adapter } from "../../../lib/adapter/adapter.js";
import { resolveConfig } from "../../../lib/config/config.js";
import type { TrainOptions } from "../../../lib/config/schema.js";
import type { Example } from "../../../lib/data/example.js";
import type { Dataset } from "../../../lib/data/load.js";
import type { Model } from "../../../lib/model/open.js";
import type { Reward } from "../../../lib/reward/reward.js";
import { readRunInfo } from "../../../lib/run/folder.js";
import { readHistory } from "../../../lib/run/history.js";
import { cosine } from "../../../lib/train/grpo.js";
import { makeTrained } from "../../../lib/train/make-trained.js";
import type { StepReport } from "../../../lib/train/run.js";
import { GrpoTrainer, type GrpoTrainerOptions } from "../../../lib/train/trainer.js";
import { FakePolicy } from "./fake-policy.js";

const problem = (id: string) => ({ id, question: `question ${id}`, answer: "7", row: {} });
const data: Dataset = {
  name: "fake",
  train: Array.from({ length: 10 }, (_, i) => problem(`fake/train/${i + 1}`)),
  test: Array.from({ length: 4 }, (_, i) => problem(`fake/test/${i + 1}`)),
};
const sevens: Reward = async (completion) => {
  await new Promise((resolve) => setTimeout(resolve, completion.length % 3));
  return [...completion].filter((letter) => letter === "7").length / Math.max(1, completion.length);
};
const small: TrainOptions = {
  num_prompts: 3,
  num_generations: 4,
  max_completion_length: 8,
  max_steps: 4,
  eval_steps: 2,
  eval_examples: 3,
  learning_rate: 0.1,
  save_steps: 1,
  save_total_limit: 2,
};

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "tinylora-"));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

function makeTrainer(options: Partial<GrpoTrainerOptions> & { policy?: FakePolicy } = {}): GrpoTrainer {
  const { policy = new FakePolicy(), config, ...rest } = options;
  return new GrpoTrainer({
    engine: policy,
    adapter: policy.adapter(),
    data,
    rewards: { sevens },
    config: { ...small, ...config },
    ...rest,
  });
}

function base(): Pick<GrpoTrainerOptions, "engine" | "adapter" | "config"> {
  const engine = new FakePolicy();
  return { engine, adapter: engine.adapter(), config: small };
}

async function metricsOf(run: string): Promise<Record<string, unknown>[]> {
  const text = await readFile(join(run, "metrics.jsonl"), "utf8");
  return text
    .trim()
    .split("\n")
    .map((line) => {
      const { measured, ...metrics } = JSON.parse(line) as Record<string, unknown>;
      expect(measured).toBeTypeOf("object");
      return metrics;
    });
}

const newest = (run: string, step: number) => readFile(join(run, "checkpoints", `step-${step}`, "state.json"), "utf8");

describe("GrpoTrainer", () => {
  it("learns what is rewarded, and the sampler and the passes agree in every step", async () => {
    const reports: StepReport[] = [];
    await makeTrainer({ config: { max_steps: 60, num_prompts: 8, num_generations: 8 } }).train({
      onStep: (report) => void reports.push(report),
    });
    const reward = (some: StepReport[]) => some.reduce((sum, { metrics }) => sum + metrics.reward!, 0) / some.length;
    const steps = reports.slice(1);
    expect(reward(steps.slice(-10))).toBeGreaterThan(reward(steps.slice(0, 10)) + 0.1);
    for (const { metrics } of steps) expect(metrics["sampling/max_abs_dlogp"]).toBe(0);
    for (const { metrics } of steps) expect(metrics["sampling/importance_sampling_ratio/mean"]).toBe(1);
  });

  it("shows a sampler that disagrees with the passes", async () => {
    const policy = new FakePolicy();
    policy.drift = 0.125;
    const seen: number[] = [];
    await makeTrainer({ policy, config: { max_steps: 1, eval_steps: 0 } }).train({
      onStep: ({ metrics }) => void seen.push(metrics["sampling/max_abs_dlogp"]!),
    });
    expect(seen[0]).toBeCloseTo(0.125, 5);
  });

  it.each<[string, TrainOptions]>([
    ["dapo", {}],
    ["KL, two iterations", { beta: 0.05, num_iterations: 2 }],
    [
      "sequence ratios, masked",
      { importance_sampling_level: "sequence", mask_truncated_completions: true, num_iterations: 2 },
    ],
    ["dr_grpo", { loss_type: "dr_grpo" }],
  ])("gives the same v for any token budget: %s", async (_, options) => {
    const vectors: Float32Array[] = [];
    for (const token_budget of [13, 30, 4096]) {
      const config = { ...options, token_budget, optim: "sgd" as const, max_steps: 2, eval_steps: 0 };
      vectors.push((await makeTrainer({ config }).train()).adapter.v);
    }
    for (const v of vectors.slice(1)) {
      for (const [i, value] of v.entries()) expect(value).toBeCloseTo(vectors[0]![i]!, 6);
    }
    expect(Math.hypot(...vectors[0]!)).toBeGreaterThan(0);
  });

  it("counts clipped ratios over all tokens, also of passes that later iterations leave out", async () => {
    const rewards = { some: (text: string, { id }: Example) => (/[13579]$/.test(id) ? text.length : 0) };
    const clipped = async (loss_type: "dapo" | "bnpo"): Promise<unknown> => {
      const config = { loss_type, num_iterations: 2, epsilon: 0, optim: "sgd", max_steps: 1, num_prompts: 10 } as const;
      const seen: StepReport["metrics"][] = [];
      await makeTrainer({ rewards, config: { ...config, eval_steps: 0, token_budget: 4096 } }).train({
        onStep: ({ metrics }) => void seen.push(metrics),
      });
      expect(seen[0]!.frac_reward_zero_std).toBeGreaterThan(0);
      const { "clip_ratio/low_mean": low, "clip_ratio/high_mean": high } = seen[0]!;
      expect(low! + high!).toBeGreaterThan(0);
      return [low, high, seen[0]!.grad_norm];
    };
    // All in one pass, bnpo is dapo.
    expect(await clipped("dapo")).toEqual(await clipped("bnpo"));
  });

  it("keeps v in the adapter's type and the master in fp32", async () => {
    const policy = new FakePolicy();
    const adapter = policy.adapter();
    const { adapter: trained } = await makeTrainer({ policy, adapter }).train();
    expect(policy.vector).toEqual(trained.v);
  });

  it("starts from small numbers where init is uniform, others for another seed", async () => {
    const starts: Float32Array[] = [];
    for (const seed of [1, 2]) {
      const run = join(folder, String(seed));
      await makeTrainer({ run, config: { init: "uniform", seed, max_steps: 1, eval_steps: 0 } }).train();
      starts.push((await readHistory(run)).get(0)!.optimizer.master);
    }
    const sizes = starts.flatMap((v) => [...v].map(Math.abs));
    expect(Math.max(...sizes)).toBeLessThanOrEqual(0.02);
    expect(Math.max(...sizes)).toBeGreaterThan(0.01);
    expect(new Set(sizes).size).toBe(10);
    expect(new Set(starts.flatMap((v) => [...v].map(Math.sign)))).toEqual(new Set([-1, 1]));
  });

  it("writes down what it trains, and refuses options that describe another adapter", async () => {
    await makeTrainer({ run: folder }).train();
    expect((await readRunInfo(folder)).config).toMatchObject({
      ...{ adapter: "tinylora", r: 2, u: 5, tying: null },
      rewards: ["sevens"],
    });
    expect(() => makeTrainer({ config: { u: 6 } })).toThrow(
      /^options: they describe another adapter than the one given: expected u: 5 \(found 6\)$/,
    );
    const policy = new FakePolicy();
    const adapter = Adapter.create(policy, { u: 5, projection: { seed: 1, distribution: "normal" } });
    await expect(makeTrainer({ policy, adapter, run: folder, resume: true }).train()).rejects.toThrow(
      /does not train the adapter given: expected projection_seed: 1 \(found 0\)$/,
    );
  });

  it("writes down every metric of a step, and of held-out problems where they are due", async () => {
    const config = { max_steps: 3, lr_scheduler_type: "cosine" as const };
    const measured: string[][] = [];
    const policy = new FakePolicy();
    const { adapter } = await makeTrainer({ policy, run: folder, config }).train({
      onStep: (report) => void measured.push(Object.keys(report.measured)),
    });
    const [before, first, second, last] = await metricsOf(folder);
    const states = await readHistory(folder);
    const lines = await readFile(join(folder, "completions", "step-1.jsonl"), "utf8");
    const tokens = lines
      .trim()
      .split("\n")
      .map((line) => (JSON.parse(line) as { tokens: number }).tokens);
    const held = ["strict", "lenient", "format", "mean_length", "clipped_ratio", "problems"].map(
      (key) => `eval/${key}`,
    );
    expect(Object.keys(before!)).toEqual(["step", ...held]);
    expect(before).toMatchObject({ step: 0, "eval/problems": 3 });
    expect(first).toMatchObject({
      epoch: 3 / 10,
      learning_rate: 0.1,
      num_tokens: states.get(1)!.tokens,
      grad_cosine: null,
    });
    expect(first!.num_tokens).toBe(tokens.reduce((sum, count) => sum + count, 12 * 4)); // prompts of 4 tokens
    expect(second!.learning_rate).toBeCloseTo(0.1 * 0.75, 12);
    expect(last).toMatchObject({
      epoch: 9 / 10,
      grad_cosine: cosine(states.get(3)!.lastGradient!, states.get(2)!.lastGradient),
      grad_norm: expect.closeTo(Math.hypot(...states.get(3)!.lastGradient!), 12),
      v_norm: Math.hypot(...adapter.v),
    });
    const rewards = ["reward", "reward_std", "frac_reward_zero_std", "rewards/sevens/mean", "rewards/sevens/std"];
    const graded = ["accuracy", "accuracy/strict", "accuracy/format"];
    const lengths = ["mean_length", "min_length", "max_length", "clipped_ratio"].map((key) => `completions/${key}`);
    const passes = ["loss", "entropy", "kl", ...["low", "high", "region"].map((key) => `clip_ratio/${key}_mean`)];
    const sampler = ["sampling/max_abs_dlogp", "sampling/importance_sampling_ratio/mean"];
    const noise = ["variance", "squared_norm", "noise_scale"].map((key) => `gradient/${key}`);
    const update = ["epoch", "learning_rate", "grad_norm", "grad_cosine", "v_norm", "num_tokens"];
    const all = ["step", ...rewards, ...graded, ...lengths, ...passes, ...sampler, ...noise, ...update];
    expect(Object.keys(first!).sort()).toEqual([...all].sort());
    expect(Object.keys(second!).sort()).toEqual([...all, ...held].sort());
    expect(Object.keys(last!).sort()).toEqual([...all, ...held].sort());
    const rates = ["tokens_per_second/sampling", "tokens_per_second/training", "memory/peak_rss"];
    const step = ["step_time", "seconds/sampling", "seconds/training", ...rates];
    expect(measured).toEqual([
      ["seconds/evaluation"],
      step,
      [...step, "seconds/evaluation"],
      [...step, "seconds/evaluation"],
    ]);
  });

  it("tells how far a step is: completions, passes, evaluated problems", async () => {
    const told: string[] = [];
    await makeTrainer({ config: { max_steps: 1, eval_steps: 1, token_budget: 30 } }).train({
      onProgress: ({ phase, done, total }) => void told.push(`${phase} ${done}/${total}`),
    });
    const passes = told.filter((line) => line.startsWith("training ")).length;
    expect(passes).toBeGreaterThan(1);
    const upTo = (phase: string, count: number) =>
      Array.from({ length: count }, (_, i) => `${phase} ${i + 1}/${count}`);
    expect(told).toEqual([
      ...upTo("evaluation", 3),
      ...upTo("sampling", 12),
      ...Array.from({ length: passes }, (_, i) => `training ${i}/${passes}`),
      ...upTo("evaluation", 3),
    ]);
  });

  it("starts from an adapter of the same model alone", async () => {
    const policy = new FakePolicy();
    await policy.adapter().withVector([1, 2, 3, 4, 5]).save(folder);
    const config = resolveConfig({ u: 5, start_from: folder });
    const base = {
      model: {} as Model,
      modules: policy.modules,
      fingerprint: policy.fingerprint,
      dtype: "bf16",
    } as const;
    expect((await makeTrained(base, config)) as Adapter).toMatchObject({ v: Float32Array.of(1, 2, 3, 4, 5) });
    await expect(makeTrained({ ...base, fingerprint: "fedcba9876543210" }, config)).rejects.toThrow(
      /made for another base model/,
    );
    await expect(makeTrained(base, resolveConfig({ start_from: folder }))).rejects.toThrow(/another adapter than/);
  });

  it("refuses to start over a run that is there", async () => {
    await makeTrainer({ run: folder }).train();
    await expect(makeTrainer({ run: folder }).train()).rejects.toThrow(/holds a run already/);
  });

  it("refuses a token budget that a completion does not fit in, naming the example", async () => {
    const fits = { token_budget: 4 + 8, max_steps: 1 };
    expect((await makeTrainer({ config: fits }).train()).step).toBe(1);
    await expect(makeTrainer({ config: { token_budget: 4 + 7 } }).train()).rejects.toThrow(
      /^token_budget: expected at least 12 .*fake\/train\/\d+, found 11$/,
    );
  });
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

  it("goes on for longer than was planned", async () => {
    const [straight, longer] = [join(folder, "a"), join(folder, "b")];
    await makeTrainer({ run: straight, config: { eval_steps: 0 } }).train();
    await makeTrainer({ run: longer, config: { eval_steps: 0, max_steps: 2 } }).train();
    const policy = new FakePolicy();
    const options = { engine: policy, adapter: policy.adapter(), data, rewards: { sevens }, run: longer, resume: true };
    await new GrpoTrainer({ ...options, config: { max_steps: 4 } }).train();
    expect(await newest(longer, 4)).toBe(await newest(straight, 4));
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
    ["gives a text", () => "1" as unknown as number, /expected a finite number or null, found 1/],
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
      setTimeout(() => controller.abort(), 50);
      return new Promise(() => {});
    };
    const start = performance.now();
    const { stopped, step } = await makeTrainer({ run: folder, rewards: { never } }).train({
      signal: controller.signal,
    });
    expect([stopped, step]).toEqual(["aborted", 0]);
    const failing: Reward = () => Promise.reject(new Error("offline"));
    await expect(makeTrainer({ rewards: { never, failing } }).train()).rejects.toThrow(/"failing" .* offline/);
    expect(performance.now() - start).toBeLessThan(10_000); // of the 30 s that a reward may take
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
    const skipping = makeTrainer({ ...options, run: join(folder, "b"), config: { skip_bad: true } });
    expect((await skipping.train({ onWarning: (m) => void warnings.push(m) })).step).toBe(4);
    expect(warnings).toEqual([expect.stringMatching(/^1 problems left out, the first: long: /)]);
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
    ["a data set's name", { data: "gsm8k" }, 'data: expected an object with name, train and test, found "gsm8k"'],
    ["bare problems", { data: [one] }, "data.name: expected a text, found undefined"],
    ["an iterable", with_(new Set([one])), "data.train: expected an array of problems, found {}"],
    ["no id", with_([one, { ...one, id: undefined }]), "data.train[1].id: expected a text, found undefined"],
    ["a number", with_([{ ...one, answer: 7 }]), "data.train[0].answer: expected a text, found 7"],
    ["no row", with_([{ ...one, row: undefined }]), "data.train[0].row: expected an object"],
    ["no held-out part", { data: { name: "own", train: [one] } }, "data.test: expected an array of problems"],
    ["a reward without name", { rewards: sevens }, "rewards: expected functions by name, found a function"],
    ["a list of rewards", { rewards: [sevens] }, "rewards: expected functions by name"],
    ["a reward that is none", { rewards: { mine: 1 } }, "rewards.mine: expected a function, found 1"],
    ["a run that is no path", { run: 7 }, "run: expected the path of a folder, found 7"],
  ])("%s", (_, options, message) => {
    const make = () => new GrpoTrainer({ ...base(), data, ...(options as Partial<GrpoTrainerOptions>) });
    expect(make).toThrow(message);
    expect(make).toThrow(expect.objectContaining({ code: "ERR_ARGUMENT" }));
  });

  it("a thenable that never settles is late as a promise is", async () => {
    // biome-ignore lint/suspicious/noThenProperty: what query builders are
    const never = (() => ({ then() {} })) as unknown as Reward;
    const trainer = makeTrainer({ rewards: { never }, config: { reward_timeout: 0.2, eval_steps: 0 } });
    await expect(trainer.train()).rejects.toThrow("no value within 0.2 s");
  });
});
