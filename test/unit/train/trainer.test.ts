import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { isDeepStrictEqual } from "node:util";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { Adapter } from "../../../lib/adapter/adapter.js";
import { roundVector } from "../../../lib/adapter/vector-dtype.js";
import { resolveConfig } from "../../../lib/config/config.js";
import type { TrainOptions } from "../../../lib/config/schema.js";
import type { Example } from "../../../lib/data/example.js";
import type { Model } from "../../../lib/model/open.js";
import type { Reward } from "../../../lib/reward/reward.js";
import { checkpointSteps } from "../../../lib/run/checkpoint.js";
import { readRunInfo } from "../../../lib/run/run-info.js";
import { makeTrained } from "../../../lib/train/make-trained.js";
import { cosine } from "../../../lib/train/norm.js";
import type { StepReport } from "../../../lib/train/run.js";
import { statesOf } from "../run/states-of.js";
import { FakePolicy } from "./fake-policy.js";
import { data, makeTrainer, metricsOf } from "./small-run.js";

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "tinylora-"));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

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

  it("makes passes of completions that can change it alone, and tells of all", async () => {
    const odd = ({ id }: Example) => /[13579]$/.test(id);
    const step = async (rewards: Record<string, Reward>, options: TrainOptions = {}) => {
      const policy = new FakePolicy();
      const seen: StepReport[] = [];
      const config = { max_steps: 1, eval_steps: 0, token_budget: 30, ...options };
      await makeTrainer({ policy, rewards, config }).train({ onStep: (report) => void seen.push(report) });
      const { metrics, measured } = seen[0]!;
      expect(measured["tokens_per_second/training"]! * measured["seconds/training"]!).toBeCloseTo(policy.rows, 6);
      return { rows: policy.rows, metrics };
    };
    const some = await step({ some: (text, example) => (odd(example) ? text.length : 0) });
    const none = await step({ none: () => 1 });
    const all = await step({ none: () => 1 }, { optim: "natural" }); // which asks for every completion's gradient
    expect(none.rows).toBe(0);
    expect(some.rows).toBeGreaterThan(0);
    expect(some.rows).toBeLessThan(all.rows);
    expect(none.metrics).toMatchObject({ grad_norm: 0, loss: 0, "sampling/importance_sampling_ratio/mean": 1 });
    for (const { metrics } of [some, none]) expect(metrics.entropy).toBeCloseTo(all.metrics.entropy!, 6);
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

  it.each(["nearest", "stochastic"] as const)(
    "keeps v in the adapter's type and the master in fp32, rounded as it is asked to: %s",
    async (v_rounding) => {
      const policy = new FakePolicy();
      const adapter = Adapter.create(policy, { u: 5, dtype: "bf16" });
      const { adapter: trained } = await makeTrainer({ policy, adapter, run: folder, config: { v_rounding } }).train();
      const { master } = (await statesOf(folder)).at(-1)!.optimizer;
      const nearest = roundVector(master, "bf16");
      expect(nearest).not.toEqual(master);
      expect(isDeepStrictEqual(policy.vector, nearest)).toBe(v_rounding === "nearest");
      expect(policy.vector).toEqual(roundVector(policy.vector, "bf16"));
      for (const [i, value] of policy.vector.entries()) {
        expect(Math.abs(value / master[i]! - 1)).toBeLessThan(2 ** -7);
      }
      expect(trained.v).toEqual(policy.vector);
    },
  );

  it("starts from small numbers where init is uniform, others for another seed", async () => {
    const starts: Float32Array[] = [];
    for (const seed of [1, 2]) {
      const run = join(folder, String(seed));
      await makeTrainer({ run, config: { init: "uniform", seed, max_steps: 1, eval_steps: 0 } }).train();
      starts.push((await statesOf(run))[0]!.optimizer.master);
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
    const states = await statesOf(folder);
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
      num_tokens: states[1]!.tokens,
      grad_cosine: null,
    });
    expect(first!.num_tokens).toBe(tokens.reduce((sum, count) => sum + count, 12 * 4)); // prompts of 4 tokens
    expect(second!.learning_rate).toBeCloseTo(0.1 * 0.75, 12);
    expect(last).toMatchObject({
      epoch: 9 / 10,
      grad_cosine: cosine(states[3]!.lastGradient!, states[2]!.lastGradient),
      grad_norm: expect.closeTo(Math.hypot(...states[3]!.lastGradient!), 12),
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

  it("makes a checkpoint before the first step, of every save_steps-th and of the last, and keeps the newest", async () => {
    const made = async (save_total_limit: number) => {
      const run = join(folder, String(save_total_limit));
      await makeTrainer({ run, config: { max_steps: 5, eval_steps: 0, save_steps: 2, save_total_limit } }).train();
      return checkpointSteps(join(run, "checkpoints"));
    };
    expect(await made(9)).toEqual([5, 4, 2, 0]);
    expect(await made(2)).toEqual([5, 4]);
  });

  it("evaluates and reports the v that a step made, and the first one before", async () => {
    const policy = new FakePolicy();
    const [evaluated, reported]: [Float32Array[], Float32Array[]] = [[], []];
    await makeTrainer({ policy, config: { max_steps: 3, eval_steps: 2 } }).train({
      onProgress: ({ phase, done }) => void (phase === "evaluation" && done === 1 && evaluated.push(policy.vector)),
      onStep: () => void reported.push(policy.vector),
    });
    expect(evaluated).toEqual([0, 2, 3].map((step) => reported[step]));
    expect(new Set(reported.map(String)).size).toBe(4);
  });

  it("tells the noise of the gradient at the policy that sampled, whatever is made of the batch then", async () => {
    const noise = async (num_iterations: number) => {
      const seen: StepReport["metrics"][] = [];
      await makeTrainer({ config: { num_iterations, max_steps: 1, eval_steps: 0 } }).train({
        onStep: ({ metrics }) => void seen.push(metrics),
      });
      return (["variance", "squared_norm", "noise_scale"] as const).map((key) => seen[0]![`gradient/${key}`]);
    };
    const [variance, ...rest] = await noise(1);
    expect(variance).toBeGreaterThan(0);
    expect(await noise(3)).toEqual([variance, ...rest]);
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

  it("refuses to start over a run that is there, or in a file, before the SVD", async () => {
    await makeTrainer({ run: folder }).train();
    const policy = new FakePolicy();
    policy.attach = async () => expect.fail("an SVD was made first");
    await expect(makeTrainer({ policy, run: folder }).train()).rejects.toThrow(/holds a run already/);
    const file = join(folder, "config.json");
    await expect(makeTrainer({ policy, run: file }).train()).rejects.toThrow(
      `${file}: expected a folder, found a file`,
    );
    const resumed = makeTrainer({ policy, run: folder, data: { ...data, train: data.test }, resume: true });
    await expect(resumed.train()).rejects.toThrow(/expected the problems that it began with, found others/);
    const other = Object.assign(policy, { fingerprint: "fedcba9876543210" });
    await expect(makeTrainer({ policy: other, run: folder, resume: true }).train()).rejects.toThrow(
      `${folder}: expected to train 5 numbers of the model 0123456789abcdef, found 5 of fedcba9876543210`,
    );
  });

  it("refuses a token budget or a cache that a completion does not fit in, naming the longest one", async () => {
    const policy = new FakePolicy();
    policy.attach = async () => expect.fail("an SVD was made first");
    policy.tokenizer.encode = (text) => Array(text.endsWith("/5") ? 40 : text.endsWith("/2") ? 30 : 4).fill(1);
    const train = (token_budget: number, cache: number) => {
      Object.assign(policy, { cacheTokens: cache });
      return makeTrainer({ policy, config: { token_budget, max_steps: 4 } }).train();
    };
    const of = "for the prompt and a completion of fake/train/5, found";
    await expect(train(47, 47)).rejects.toThrow(`token_budget: expected at least 48 ${of} 47`);
    await expect(train(48, 46)).rejects.toThrow(`cache_tokens: expected at least 47 ${of} 46`);
    await expect(train(20, 32)).rejects.toThrow(
      `token_budget: expected at least 48 ${of} 20; cache_tokens: expected at least 47 ${of} 32`,
    );
    await expect(train(48, 47)).rejects.toThrow("an SVD was made first");
    const fits = { token_budget: 4 + 8, max_steps: 1 };
    expect((await makeTrainer({ config: fits }).train()).step).toBe(1);
  });

  it("takes a prompt that is longer than a pass where nothing goes through passes", async () => {
    const attach = async () => expect.fail("an SVD was made first");
    const policy = Object.assign(new FakePolicy(), { attach, vectors: { attach } });
    Object.assign(policy.model.config, { context: 4096 });
    policy.tokenizer.encode = () => Array(2048).fill(1);
    const train = (config: TrainOptions) => makeTrainer({ policy, config: { ...config, eval_steps: 0 } }).train();
    await expect(train({})).rejects.toThrow("token_budget: expected at least 2056 for the prompt");
    await expect(train({ estimator: "evolution_strategies" })).rejects.toThrow("an SVD was made first");
  });

  it("refuses a cache that an evaluation does not fit in, naming the longest of its problems", async () => {
    const policy = new FakePolicy();
    policy.attach = async () => expect.fail("an SVD was made first");
    policy.tokenizer.encode = (text) => Array(/test\/[23]$/.test(text) ? Number(text.at(-1)) * 10 : 4).fill(1);
    const train = (cacheTokens: number, config: TrainOptions) => {
      Object.assign(policy, { cacheTokens });
      return makeTrainer({ policy, config }).train();
    };
    const told = "cache_tokens: expected at least 37 for the prompt and a completion of fake/test/3, found";
    await expect(train(20, {})).rejects.toThrow(`${told} 20`);
    await expect(train(36, {})).rejects.toThrow(`${told} 36`);
    await expect(train(37, {})).rejects.toThrow("an SVD was made first");
    await expect(train(20, { eval_examples: 1 })).rejects.toThrow("an SVD was made first"); // fake/test/1
  });

  it("counts what a chat template says by itself, too, before the first step", async () => {
    const policy = new FakePolicy();
    const { encodeChat } = policy.tokenizer;
    policy.tokenizer.encodeChat = (messages) => [...Array(100).fill(1), ...encodeChat(messages)];
    policy.attach = async () => expect.fail("an SVD was made first");
    const config = { prompt_style: "chat", token_budget: 100 + 4 + 7, max_steps: 1 } as const;
    await expect(makeTrainer({ policy, config }).train()).rejects.toThrow("token_budget: expected at least 112 for");
  });
});
