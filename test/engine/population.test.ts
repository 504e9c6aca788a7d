import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { usedBy } from "../../lib/config/method.js";
import {
  Adapter,
  Engine,
  GrpoTrainer,
  makeTrained,
  Population,
  type PopulationEngine,
  type PopulationMember,
  type Reward,
  resolveConfig,
  SftTrainer,
  type TrainablePolicy,
  type TrainOptions,
} from "../../lib/index.js";
import { readMetrics } from "../../lib/run/metrics-file.js";
import { writeTinyModel } from "../tiny-model.js";

let folder: string;
let engine: Engine;
let base: TrainOptions;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "tinylora-population-"));
  process.env.TINYLORA_CACHE = join(folder, "cache");
  // Few sequences at a time, so that members wait for one another in the middle of a group.
  const model = await writeTinyModel(join(folder, "model"));
  engine = await Engine.load(model, { threads: 2, maxSequences: 7, cacheTokens: 2048 });
  const data = join(folder, "sums.jsonl");
  const rows = Array.from({ length: 20 }, (_, i) => ({
    question: `${i}+1?`,
    solution: `${"so ".repeat(i % 4)}#### ${i + 1}`,
  }));
  await writeFile(data, rows.map((row) => `${JSON.stringify(row)}\n`).join(""));
  base = {
    ...{ data, shots: 0, prompt_style: "text", num_prompts: 3, num_generations: 4, max_completion_length: 8 },
    ...{ max_steps: 3, eval_steps: 2, rewards: ["digits"], learning_rate: 0.05 },
    token_budget: 48, // so small that a step takes several passes, and groups are parted
  };
});
afterAll(async () => {
  engine.dispose();
  await rm(folder, { recursive: true });
});

interface Member {
  readonly method?: "grpo" | "sft";
  readonly options: TrainOptions;
  readonly reward?: Reward;
}

async function adapterOf({ options }: Member): Promise<Adapter> {
  return (await makeTrained(engine, resolveConfig({ ...base, ...options }))) as Adapter;
}

async function train(member: Member, policy: TrainablePolicy, adapter: Adapter, run: string): Promise<void> {
  const { method = "grpo", options, reward } = member;
  const common = { engine: policy, adapter, config: usedBy(method, { ...base, ...options }), run };
  const trainer =
    method === "sft" ? new SftTrainer(common) : new GrpoTrainer({ ...common, ...(reward && { rewards: { reward } }) });
  await trainer.train();
}

/** Trains the members side by side; of each, the error that ended it. */
async function trainTogether(members: readonly Member[], name: string): Promise<(Error | undefined)[]> {
  const policies = await Population.attach(engine, await Promise.all(members.map(adapterOf)));
  return Promise.all(
    policies.map((policy, i) =>
      train(members[i]!, policy, policy.adapter, join(folder, `${name}-${i}`))
        .then(() => undefined)
        .catch((error: Error) => error)
        .finally(() => policy.leave()),
    ),
  );
}

/** All that a run leaves, but for seconds and memory. */
async function trail(run: string, steps = 3) {
  const read = (...path: string[]) => readFile(join(run, ...path), "base64");
  return {
    metrics: await readMetrics(run),
    completions: await read("completions", "step-3.jsonl").catch(() => null),
    state: await read("checkpoints", `step-${steps}`, "state.json"),
    adapter: await read("adapter", "adapter.safetensors"),
  };
}

/** Alone nothing is kept, so that it cannot be what is kept that agrees. */
async function expectAsAlone(members: readonly Member[], name: string): Promise<void> {
  for (const [i, member] of members.entries()) {
    const alone = join(folder, `${name}-${i}-alone`);
    const options = { ...member.options, keep_activations: false };
    await train({ ...member, options }, engine, await attached(member), alone);
    const expected = await trail(alone, member.options.max_steps);
    expect(expected.metrics.some(({ grad_norm }) => Number(grad_norm) > 0)).toBe(true);
    expect(await trail(join(folder, `${name}-${i}`), member.options.max_steps), `member ${i}`).toEqual(expected);
  }
}

async function attached(member: Member): Promise<Adapter> {
  const adapter = await adapterOf(member);
  await engine.attach(adapter);
  return adapter;
}

describe("members have the bits that they have alone", () => {
  it.each([1, 13])("with their own seeds, rates, projections, lengths and losses (u = %i)", async (u) => {
    const members: Member[] = [
      { options: { u, seed: 1, keep_activations: true } },
      { options: { u, seed: 2, learning_rate: 0.2, keep_activations: true, gradient_checkpointing: true } },
      { options: { u, seed: 1, projection_seed: 5 } },
      { options: { u, seed: 3, projection_seed: 6, max_completion_length: 14, token_budget: 2048, num_prompts: 2 } },
      { options: { u, seed: 4, beta: 0.1, num_iterations: 2, v_dtype: "bf16", max_steps: 2 } },
      { options: { u, seed: 5, optim: "sgd", projection: "uniform", temperature: 0.7 } },
      { options: { u, seed: 6, optim: "natural", projection_seed: 5, learning_rate: 0.3, keep_activations: true } },
      {
        options: {
          ...{ u, seed: 7, num_iterations: 2, loss_type: "bnpo", scale_rewards: "batch", v_rounding: "stochastic" },
          ...{ v_dtype: "bf16", importance_sampling_level: "sequence", mask_truncated_completions: true },
        },
      },
    ];
    expect(await trainTogether(members, `grpo-${u}`)).toEqual(members.map(() => undefined));
    await expectAsAlone(members, `grpo-${u}`);
  });

  it("with one v a module, and beside supervised fine-tuning", async () => {
    const members: Member[] = [
      { options: { u: 2, tying: "none", seed: 1 } },
      { method: "sft", options: { u: 2, tying: "none", seed: 1, projection_seed: 9 } },
      { method: "sft", options: { u: 2, tying: "none", seed: 2 } },
    ];
    expect(await trainTogether(members, "mixed")).toEqual([undefined, undefined, undefined]);
    await expectAsAlone(members, "mixed");
  });
});

describe("a member that fails", () => {
  const steady: Member[] = [{ options: { u: 3, seed: 1 } }, { options: { u: 3, seed: 2, projection_seed: 1 } }];

  it.each<[string, Member, RegExp]>([
    [
      "by its reward",
      {
        options: { u: 3, seed: 7, rewards: undefined },
        reward: () => {
          throw new Error("in a mood");
        },
      },
      /in a mood/,
    ],
    ["by a v that overflows", { options: { u: 3, seed: 8, learning_rate: 1e38, max_grad_norm: 0 } }, /finite/],
  ])("%s leaves the others what they are", async (name, failing, message) => {
    const members = [steady[0]!, failing, steady[1]!];
    const [first, error, last] = await trainTogether(members, name);
    expect([first, last]).toEqual([undefined, undefined]);
    expect(error?.message).toMatch(message);
    for (const [i, member] of [members[0]!, members[2]!].entries()) {
      const alone = join(folder, `${name}-${i}-alone`);
      await train(member, engine, await attached(member), alone);
      expect(await trail(join(folder, `${name}-${2 * i}`))).toEqual(await trail(alone));
    }
  });

  it.each<[string, (member: PopulationMember) => unknown]>([
    ["leaves", (member) => member.leave()],
    ["goes back to the v before", (member) => member.setVector(0, new Float32Array(13))],
  ])("while the gradient is its turn lets the others go on when it %s", async (_, end) => {
    const [first, second] = await Population.attach(engine, [Adapter.create(engine), Adapter.create(engine)]);
    const batch = {
      tokens: Int32Array.of(1, 2, 3),
      starts: Int32Array.of(0, 3),
      parents: Int32Array.of(-1),
      slots: Int32Array.of(0),
      scored: Uint8Array.of(1),
      temperatures: Float32Array.of(1),
      keep: true,
    };
    await first!.forward(batch);
    const order: string[] = [];
    const waiting = second!.forward(batch).then(() => order.push("second"));
    await first!.backward(new Float32Array(3).fill(1));
    order.push("first");
    end(first!);
    await waiting;
    expect(order).toEqual(["first", "second"]);
    await second!.backward(new Float32Array(3).fill(0));
    expect(second!.gradient(0)).toEqual(new Float64Array(13));
  });
});

describe("adapters with projections of their own, side by side", () => {
  it("are saved whole as they are alone", async () => {
    const make = (seed: number) => {
      const adapter = Adapter.create(engine, {
        u: 2,
        tying: { kind: "none" },
        projection: { seed, distribution: "normal" },
      });
      return adapter.withVector(adapter.v.map((_, i) => 0.01 * (i - 3)));
    };
    await engine.attach([make(1), make(2), make(1)]);
    const prompt = ["Two and two"];
    const together = [await engine.logprobs(prompt, { adapter: 1 }), engine.basis(1), engine.basis(2)] as const;
    await engine.attach(make(2));
    expect(together[0]).toEqual(await engine.logprobs(prompt));
    expect(together[1].basis.modules).toEqual(engine.basis().basis.modules);
    await engine.attach(make(1));
    expect(together[2].basis.modules).toEqual(engine.basis().basis.modules);
  });
});

/** The engine, but for how it attaches these. */
function attachingBy(attach: () => Promise<void>, adapters: readonly Adapter[]): PopulationEngine {
  return Object.create(engine, { attach: { value: attach }, adapters: { value: adapters } }) as Engine;
}

it("makes the SVD when the first run that may begin asks for it, not before", async () => {
  let attached = 0;
  const adapters = [Adapter.create(engine), Adapter.create(engine)];
  const counting = attachingBy(async () => void attached++, adapters);
  const { members } = new Population(counting, adapters);
  const run = (member: PopulationMember, data: string) =>
    new GrpoTrainer({ engine: member, adapter: member.adapter, config: { ...base, data } }).train();
  await expect(run(members[0]!, "nowhere.jsonl")).rejects.toThrow(/^nowhere\.jsonl/);
  expect(attached).toBe(0);
  await Promise.all(members.map((member) => member.attach(member.adapter)));
  expect(attached).toBe(1);
  const signal = AbortSignal.abort(new Error("enough"));
  await expect(Population.attach(engine, adapters, { signal })).rejects.toThrow(/^enough$/);
});

it("a member that waits for the SVD gives up at its signal, and the others get it, or its error", async () => {
  const adapters = [Adapter.create(engine), Adapter.create(engine)];
  for (const error of [undefined, new Error("no memory")]) {
    let end = () => {};
    const svd = new Promise<void>((resolve, reject) => {
      end = () => (error ? reject(error) : resolve());
    });
    const waiting = attachingBy(() => svd, adapters);
    const [first, second] = new Population(waiting, adapters).members;
    const controller = new AbortController();
    const runs = [first!.attach(first!.adapter, { signal: controller.signal }), second!.attach(second!.adapter)];
    controller.abort(new Error("given up"));
    await expect(runs[0]).rejects.toThrow(/^given up$/);
    end();
    expect(await runs[1]!.catch((found) => found)).toBe(error);
  }
});

it("members hear how far their SVD is, and one whose listener throws ends alone", async () => {
  const members = new Population(
    engine,
    [1, 2].map(() => Adapter.create(engine, { r: 4 })),
  ).members;
  const heard: string[][] = [[], []];
  const attach = (i: number, more = () => {}) =>
    members[i]!.attach(members[i]!.adapter, {
      onProgress: (done, total) => {
        heard[i]!.push(`${done}/${total}`);
        more();
      },
    });
  const mine = new Error("mine");
  const ended = await Promise.allSettled([
    attach(0),
    attach(1, () => {
      throw mine;
    }),
  ]);
  expect(ended).toMatchObject([{ status: "fulfilled" }, { status: "rejected", reason: mine }]);
  expect(heard).toEqual([Array.from({ length: 14 }, (_, i) => `${i + 1}/14`), ["1/14"]]);
});

it("members refuse to go on once something else lies in their slots", async () => {
  const make = (seed: number) => Adapter.create(engine, { projection: { seed, distribution: "normal" } });
  const [first, second] = await Population.attach(engine, [make(1), make(2)]);
  const config = { ...base, max_steps: 1, eval_steps: 0 };
  const run = (member: PopulationMember) =>
    new GrpoTrainer({ engine: member, adapter: member.adapter, config }).train().finally(() => member.leave());
  const before = `${(await run(second!)).adapter}`;
  await engine.attach([first!.adapter, second!.adapter]); // the same again
  expect(`${(await run(second!)).adapter}`).toBe(before);
  await engine.replace(0, make(1));
  await expect(run(first!)).rejects.toMatchObject({
    code: "ERR_STATE",
    message:
      "population: expected the adapters that it was made with in the engine's slots, found another in slot 0: make a new population",
  });
  expect(`${(await run(second!)).adapter}`).toBe(before);
  await engine.attach([make(7), make(8)]);
  await expect(run(second!)).rejects.toThrow(/found another in slot 1: make a new population/);
  await engine.attach(make(9));
  await expect(run(second!)).rejects.toThrow(/slot 1/);
});

it("a member that waits for its turn gives up at its signal, and the others keep theirs", async () => {
  const population = new Population(engine, []);
  const end = await population.takeTurn();
  const controller = new AbortController();
  const waiting = population.takeTurn(controller.signal);
  const turns: string[] = [];
  const next = population.takeTurn().then((ends) => {
    turns.push("next");
    return ends;
  });
  controller.abort(new Error("given up"));
  await expect(waiting).rejects.toThrow(/^given up$/);
  expect(turns).toEqual([]);
  end();
  (await next)();
});

it("an engine whose members train attaches no adapter and trains nothing else", async () => {
  const [first, second] = await Population.attach(engine, [Adapter.create(engine), Adapter.create(engine)]);
  const config = { ...base, max_steps: 1, eval_steps: 0 };
  const refused: unknown[] = [];
  const onStep = async () => {
    refused.push(await engine.attach(Adapter.create(engine)).catch((error) => error));
    const other = new GrpoTrainer({ engine, adapter: Adapter.create(engine), config });
    refused.push(await other.train().catch((error) => error));
  };
  const runs = [first!, second!].map((policy) => new GrpoTrainer({ engine: policy, adapter: policy.adapter, config }));
  await Promise.all(runs.map((run, i) => run.train(i === 0 ? { onStep } : {})));
  for (const member of [first!, second!]) member.leave();
  expect(refused).toMatchObject([
    { code: "ERR_STATE", message: expect.stringMatching(/^attach: a run is training on this engine/) },
    { code: "ERR_STATE", message: expect.stringMatching(/^engine: another run is training on it/) },
  ]);
  await engine.attach(Adapter.create(engine));
});
