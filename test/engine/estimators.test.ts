/** Natural gradient, evolution strategies and parts of the gradient on the native engine, and steps made again. */
import { appendFile, cp, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import { usedBy } from "../../lib/config/method.js";
import {
  Adapter,
  Engine,
  FullWeights,
  GrpoTrainer,
  makeTrained,
  Population,
  type Replay,
  replayStep,
  resolveConfig,
  SftTrainer,
  type TrainOptions,
} from "../../lib/index.js";
import { readMetrics } from "../../lib/run/metrics-file.js";
import { writeTinyModel } from "../tiny-model.js";

let folder: string;
let model: string;
let engine: Engine;
let base: TrainOptions;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "tinylora-estimators-"));
  process.env.TINYLORA_CACHE = join(folder, "cache");
  model = await writeTinyModel(join(folder, "model"));
  engine = await Engine.load(model, { threads: 2, maxSequences: 7, cacheTokens: 2048 });
  const data = join(folder, "sums.jsonl");
  const rows = Array.from({ length: 20 }, (_, i) => ({ question: `${i}+1?`, solution: `#### ${i + 1}` }));
  await writeFile(data, rows.map((row) => `${JSON.stringify(row)}\n`).join(""));
  base = {
    ...{ data, shots: 0, prompt_style: "text", num_prompts: 3, num_generations: 4, max_completion_length: 8, u: 5 },
    ...{ max_steps: 3, eval_steps: 2, rewards: ["digits"], learning_rate: 0.05, token_budget: 60 },
  };
});
afterAll(async () => {
  engine.dispose();
  await rm(folder, { recursive: true });
});

const evolution: TrainOptions = { estimator: "evolution_strategies", token_budget: undefined };
const estimators: [string, TrainOptions][] = [
  ["policy gradient", {}],
  ["natural gradient", { optim: "natural", learning_rate: 0.5 }],
  ["evolution strategies", { ...evolution, sigma: 0.05 }],
];

async function train(name: string, options: TrainOptions, { resume = false, on = engine } = {}): Promise<string> {
  const run = join(folder, name);
  const config = { ...base, ...options };
  const adapter = (await makeTrained(on, resolveConfig(config))) as Adapter;
  await new GrpoTrainer({ engine: on, adapter, config, run, resume }).train();
  return run;
}

async function trail(run: string) {
  return {
    metrics: await readMetrics(run),
    states: await readFile(join(run, "states.jsonl"), "utf8"),
    completions: await readFile(join(run, "completions", "step-3.jsonl"), "utf8"),
    adapter: await readFile(join(run, "adapter", "adapter.safetensors"), "base64"),
  };
}

describe.each(estimators)("%s", (name, options) => {
  it("changes v, and goes on after a stop with the same bits", async () => {
    const whole = await trail(await train(`${name}-whole`, options));
    expect(whole.metrics.at(-1)!.v_norm).toBeGreaterThan(0);
    await train(`${name}-parted`, { ...options, max_steps: 1 });
    // An evaluation after a last step that is not the whole run's last is not in the whole run.
    const parted = await trail(await train(`${name}-parted`, { ...options, max_steps: 3 }, { resume: true }));
    const plain = (metrics: typeof whole.metrics) =>
      metrics.map((line) => Object.fromEntries(Object.entries(line).filter(([key]) => !key.startsWith("eval/"))));
    expect({ ...parted, metrics: plain(parted.metrics) }).toEqual({ ...whole, metrics: plain(whole.metrics) });
  });

  it("does not depend on threads or on how many are sampled at a time", async () => {
    const other = await Engine.load(model, { threads: 1, maxSequences: 3, cacheTokens: 1024 });
    try {
      expect(await trail(await train(`${name}-other`, options, { on: other }))).toEqual(
        await trail(join(folder, `${name}-whole`)),
      );
    } finally {
      other.dispose();
    }
  });

  it("has steps that can be made again", async () => {
    for (const step of [1, 3]) {
      const replay = await again(`${name}-whole`, step);
      expect(replay).toMatchObject({ method: "grpo", same: true });
      expect(replay.completions).toEqual({ compared: 12, differences: [] });
      expect(replay.state.compared).toBe(4);
    }
  });

  it("tells how noisy the gradient is", async () => {
    const metrics = await readMetrics(join(folder, `${name}-whole`));
    const told = metrics.filter((line) => line["gradient/variance"]! > 0);
    expect(told.length).toBeGreaterThan(0);
    for (const line of told) {
      // |g|^2 = |G|^2 + tr / n
      expect(line["gradient/squared_norm"]! + line["gradient/variance"]! / 3).toBeCloseTo(line.grad_norm! ** 2, 10);
    }
  });
});

it("tells how noisy the gradient is of up to 128 numbers, of which that costs nothing", async () => {
  const few: TrainOptions = { max_steps: 1, eval_steps: 0, num_prompts: 2, num_generations: 2 };
  for (const u of [128, 129]) {
    const [line] = await readMetrics(await train(`noise-${u}`, { ...few, u }));
    expect("gradient/variance" in line!).toBe(u === 128);
  }
});

describe("the gradient of v by completion", () => {
  it("adds up to that of the pass back from the loss", async () => {
    const on = await Engine.load(model, { dtype: "fp32", threads: 2 });
    const once: TrainOptions = { dtype: "fp32", max_steps: 1, eval_steps: 0 };
    for (const loss_type of ["dapo", "grpo", "cispo", "sapo"] as const) {
      const options: TrainOptions = { ...once, loss_type, ...(loss_type === "cispo" && { epsilon_high: 5 }) };
      const [plain] = await readMetrics(await train(`${loss_type}-by-loss`, options, { on }));
      const [told] = await readMetrics(
        await train(`${loss_type}-by-completion`, { ...options, optim: "natural" }, { on }),
      );
      expect(plain!.grad_norm).toBeGreaterThan(0);
      for (const key of ["grad_norm", "gradient/variance", "gradient/squared_norm"]) {
        expect(Math.abs(told![key]! / plain![key]! - 1), `${loss_type}: ${key}`).toBeLessThan(1e-4);
      }
    }
    on.dispose();
  });

  it("refuses too many numbers for a Fisher matrix", async () => {
    await expect(train("many", { optim: "natural", u: 513 })).rejects.toThrow(
      /optim: expected at most 512 trained numbers for natural, found 513/,
    );
  });

  it("is narrowed to the projection of each member of a population", async () => {
    const seeds = [0, 5, 6];
    const adapters = await Promise.all(
      seeds.map(async (projection_seed) => {
        return (await makeTrained(engine, resolveConfig({ ...base, projection_seed }))) as Adapter;
      }),
    );
    const vectors = seeds.map((_, i) => Float32Array.from({ length: 5 }, (_, j) => 0.1 * (i + 1) * (j - 2)));
    const gradients = async (slot: number) => {
      const tokens = Int32Array.from({ length: 24 }, (_, i) => (7 * i) % 250);
      const batch = { tokens, starts: Int32Array.of(0, 8, 14, 24), parents: Int32Array.of(-1, 0, -1), keep: true };
      const slots = new Int32Array(3).fill(slot);
      await engine.forward({
        ...batch,
        slots,
        scored: Uint8Array.of(0, 1, 1),
        temperatures: new Float32Array(3).fill(1),
      });
      return engine.backwardParts(new Float32Array(24).fill(1), Int32Array.of(0, 0, 1), slot);
    };
    const alone: Float64Array[] = [];
    for (const [i, adapter] of adapters.entries()) {
      await engine.attach(adapter);
      engine.setVector(0, vectors[i]!);
      alone.push(await gradients(0));
    }
    await Population.attach(engine, adapters);
    // As many numbers in all as there should be.
    const uneven = [10, 0, 5].map((length) => new Float32Array(length));
    expect(() => engine.setVectors(0, uneven)).toThrow(/^v: expected 5 numbers, found 10$/);
    engine.setVectors(0, vectors);
    for (const [slot, want] of alone.entries()) {
      expect(want).toHaveLength(10);
      expect(await gradients(slot)).toEqual(want);
    }
  });
});

describe("evolution strategies", () => {
  it("samples every completion from a slot of its own, in one batch", async () => {
    const submit = vi.spyOn(engine, "submit");
    await train("slots", { ...evolution, max_steps: 1, eval_steps: 0 });
    expect(submit.mock.calls.map(([request]) => request.slot)).toEqual(Array.from({ length: 12 }, (_, i) => i + 1));
    submit.mockRestore();
  });

  it("is refused to a member of a population", async () => {
    const config = { ...base, ...evolution };
    const adapter = (await makeTrained(engine, resolveConfig(config))) as Adapter;
    const [member] = await Population.attach(engine, [adapter]);
    await expect(new GrpoTrainer({ engine: member!, adapter, config }).train()).rejects.toThrow(
      /estimator: expected an engine of its own/,
    );
  });
});

async function again(name: string, step: number, on = engine): Promise<Replay> {
  return replayStep({ engine: on, adapter: await makeTrained(on, resolveConfig(base)), run: join(folder, name), step });
}

describe("an option that is beyond float", () => {
  it.each<[TrainOptions, string]>([
    [{ learning_rate: 1e39 }, "learning_rate: expected a finite number, 0 or more, found 1e+39"],
    [{ weight_decay: 1e39 }, "weight_decay: expected a finite number, 0 or more, found 1e+39"],
    [{ adam_beta1: 1 - 1e-9 }, "adam_beta1: expected 0 or more and less than 1, found 1"],
    [{ adam_beta2: 1 - 1e-9 }, "adam_beta2: expected 0 or more and less than 1, found 1"],
    [{ adam_epsilon: 1e-60 }, "adam_epsilon: expected a finite number that float does not round to 0, found 1e-60"],
  ])("%j is refused by its own name where weights are trained", async (options, message) => {
    const lora = { adapter: "lora", u: undefined, max_steps: 1, ...options } as const;
    await expect(train(`beyond ${Object.keys(options)}`, lora)).rejects.toMatchObject({
      code: "ERR_ARGUMENT",
      message,
    });
  });
});

describe("replay", () => {
  it("makes a step of supervised fine-tuning again", async () => {
    const run = join(folder, "sft");
    const adapter = (await makeTrained(engine, resolveConfig(base))) as Adapter;
    await new SftTrainer({ engine, adapter, config: usedBy("sft", base), run }).train();
    const replay = await again("sft", 2);
    expect(replay).toMatchObject({ method: "sft", same: true, completions: { compared: 0 } });
    const own = { num_generations: undefined, rewards: undefined }; // as the run has them
    await expect(train("sft", own, { resume: true })).rejects.toThrow(/expected to go on by sft, found grpo/);
  });

  it("makes a step of a schedule again after the run was made longer", async () => {
    const cosine: TrainOptions = { lr_scheduler_type: "cosine", warmup_steps: 1, max_steps: 3, eval_steps: 0 };
    await train("longer", cosine);
    await train("longer", { ...cosine, max_steps: 4 }, { resume: true });
    for (const step of [1, 3, 4]) expect(await again("longer", step), `step ${step}`).toMatchObject({ same: true });
  });

  it("is refused without the rewards that a program gave, though one of the package's has the same name", async () => {
    const run = join(folder, "own-rewards");
    const adapter = (await makeTrained(engine, resolveConfig(base))) as Adapter;
    const rewards = { digits: (completion: string) => completion.length };
    await new GrpoTrainer({ engine, adapter, config: base, run, rewards }).train();
    const refused = /own-rewards: its rewards \(digits\) are functions of the program that began it: only a program/;
    await expect(again("own-rewards", 2)).rejects.toThrow(refused);
    await expect(train("own-rewards", { max_steps: 4 }, { resume: true })).rejects.toThrow(refused);
    expect(await replayStep({ engine, adapter, run, step: 2, rewards })).toMatchObject({ same: true });
  });

  it("is refused, as going on is, where the problems are others than those of the run", async () => {
    const data = join(folder, "grows.jsonl");
    const row = (i: number) => `${JSON.stringify({ question: `${i}+2?`, solution: `#### ${i + 2}` })}\n`;
    await writeFile(data, [...Array(10).keys()].map(row).join(""));
    await train("other-problems", { data });
    await appendFile(data, row(10));
    const refused =
      /other-problems: expected the problems that it began with, found others: its data \(.*grows.jsonl\) was/;
    await expect(again("other-problems", 2)).rejects.toThrow(refused);
    await expect(train("other-problems", { data, max_steps: 4 }, { resume: true })).rejects.toThrow(refused);
  });

  it("is refused where the prompts are others", async () => {
    const run = join(folder, "other-prompts");
    await cp(join(folder, "policy gradient-whole"), run, { recursive: true });
    const path = join(run, "config.json");
    await writeFile(path, (await readFile(path, "utf8")).replace(/"prompt": "\w{16}"/, '"prompt": "0123456789abcdef"'));
    await expect(again("other-prompts", 1)).rejects.toThrow(/other-prompts: its prompts are others than those that it/);
  });

  it("says what differs", async () => {
    await cp(join(folder, "policy gradient-whole"), join(folder, "changed"), { recursive: true });
    const path = join(folder, "changed", "completions", "step-2.jsonl");
    const lines = (await readFile(path, "utf8")).split("\n");
    const first = JSON.parse(lines[0]!) as { digest: string; rewards: number[] };
    lines[0] = JSON.stringify({ ...first, digest: "0", rewards: [7] });
    await writeFile(path, lines.join("\n"));
    const metrics = join(folder, "changed", "metrics.jsonl");
    await writeFile(metrics, (await readFile(metrics, "utf8")).replaceAll(/"reward":[\d.]+/g, '"reward":9'));
    const replay = await again("changed", 2);
    expect(replay.same).toBe(false);
    expect(replay.completions.differences).toEqual(["completion 1: digest, rewards"]);
    expect(replay.metrics.differences).toEqual([expect.stringMatching(/^reward: expected 9, found 0/)]);
    expect(replay.state.differences).toEqual([]);

    const third = join(folder, "changed", "completions", "step-3.jsonl");
    const [one, ...rest] = (await readFile(third, "utf8")).trimEnd().split("\n");
    await writeFile(third, [rest.pop(), ...rest, one].map((line) => `${line}\n`).join(""));
    const { differences } = (await again("changed", 3)).completions;
    expect(differences).toEqual(
      [/^completion 1: id,/, /^completion 12: id,/].map((told) => expect.stringMatching(told)),
    );

    const others = { engine, adapter: await makeTrained(engine, resolveConfig(base)), run: join(folder, "changed") };
    const taught = await replayStep({ ...others, step: 2, rewards: { digits: (text: string) => text.length % 3 } });
    expect(taught.same).toBe(false);
    expect(taught.state.differences).toEqual(["v", "optimiser", "gradient"]);
    expect(taught.metrics.differences).toContainEqual(expect.stringMatching(/^reward: expected 9, found \d/));
  });

  it("refuses a step that is not there, another model, another instruction set, and runs without states", async () => {
    const name = "policy gradient-whole";
    for (const step of [0, 4, 1.5]) {
      await expect(again(name, step)).rejects.toThrow(`step: expected 1 to 3, found ${step}`);
    }
    const stranger = await Engine.load(await writeTinyModel(join(folder, "stranger"), 2), { threads: 1 });
    await expect(again(name, 1, stranger)).rejects.toThrow(
      /expected to train 5 numbers of the model [0-9a-f]{16}, found 5 of/,
    );
    stranger.dispose();
    const wider = { engine, adapter: Adapter.create(engine, { u: 6 }), run: join(folder, name), step: 1 };
    await expect(replayStep(wider)).rejects.toThrow(/expected to train 5 numbers of the model .*, found 6 of/);
    const reference = await Engine.load(model, { device: "reference" });
    await expect(again(name, 1, reference)).rejects.toThrow(/expected the arithmetic of cpu \(.*\), found reference/);
    await cp(join(folder, name), join(folder, "moved"), { recursive: true });
    const warnings: string[] = [];
    const config: TrainOptions = { ...base, max_steps: 4 };
    const moved = {
      engine: reference,
      adapter: (await makeTrained(reference, resolveConfig(base))) as Adapter,
      config,
    };
    const trainer = new GrpoTrainer({ ...moved, run: join(folder, "moved"), resume: true });
    await trainer.train({ onWarning: (message) => warnings.push(message) });
    expect(warnings).toEqual([
      expect.stringMatching(/begun with the arithmetic of cpu .*, goes on with that of reference/),
    ]);
    reference.dispose();

    const full: TrainOptions = { ...base, adapter: "full", u: undefined, target_modules: ["q_proj"], max_steps: 1 };
    const run = join(folder, "full");
    const own = await Engine.load(model, { threads: 2 });
    try {
      await new GrpoTrainer<FullWeights>({
        engine: own,
        adapter: FullWeights.of(own, ["q_proj"]),
        config: full,
        run,
      }).train();
      const replayed = { engine: own, adapter: FullWeights.of(own, ["q_proj"]), run, step: 1 };
      await expect(replayStep(replayed)).rejects.toThrow(/expected the states of the run's steps, found none/);
    } finally {
      own.dispose();
    }
    await cp(join(folder, name), join(folder, "gap"), { recursive: true });
    const states = (await readFile(join(folder, name, "states.jsonl"), "utf8")).split("\n");
    await writeFile(join(folder, "gap", "states.jsonl"), states.filter((_, step) => step !== 1).join("\n"));
    await expect(again("gap", 1)).rejects.toThrow(/states\.jsonl: expected the state after step 1, but that line/);
    await expect(again("gap", 2)).rejects.toThrow(/expected the state before step 2, but that line \(step 1\) is lost/);
    expect(await again("gap", 3)).toMatchObject({ same: true });
    await cp(join(folder, name), join(folder, "broken"), { recursive: true });
    const options = join(folder, "broken", "config.json");
    const text = await readFile(options, "utf8");
    await writeFile(options, text.replace('"optim": "adamw"', '"optim": "sgd"'));
    await expect(again("broken", 1)).rejects.toThrow(/^.*optim: expected the moments of sgd \(5 numbers\), found/);
    await writeFile(options, text);
    await appendFile(join(folder, "broken", "states.jsonl"), "{}\n");
    await expect(again("broken", 1)).rejects.toThrow(/states\.jsonl: line 5: not a state/);
  });
});
