// The engine in another program's hands: shared by callers that do not know of each other, stopped, misused.
import { createHash } from "node:crypto";
import { getEventListeners } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import {
  Adapter,
  Engine,
  type ForwardBatch,
  findModel,
  type GenerateOptions,
  GrpoTrainer,
  type TokenLogprobs,
} from "../../lib/index.js";
import { writeTinyModel } from "../tiny-model.js";

let folder: string;
let model: string;
let engine: Engine;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "tinylora-library-"));
  process.env.TINYLORA_CACHE = join(folder, "cache");
  model = await writeTinyModel(join(folder, "model"));
  engine = await Engine.load(model, { dtype: "fp32", threads: 2 });
});
afterAll(async () => {
  engine.dispose();
  await rm(folder, { recursive: true });
});

const code = (name: string) => expect.objectContaining({ code: name });
const long = { numGenerations: 8, maxCompletionLength: 1900, stopTokens: [] };
const texts = (count: number) => Array.from({ length: count }, (_, i) => `text ${i} `.repeat(20));
/** Sequences of token ids, which take no time to make: 16 fill a pass. */
const ids = (count: number) => Array.from({ length: count }, (_, i) => new Int32Array(128).fill(i % 250));
const onePass = (sequences: readonly Int32Array[]): ForwardBatch => ({
  tokens: Int32Array.from(sequences.flatMap((tokens) => [...tokens])),
  starts: Int32Array.from({ length: sequences.length + 1 }, (_, i) => 128 * i),
  parents: new Int32Array(sequences.length).fill(-1),
  slots: new Int32Array(sequences.length).fill(-1),
  scored: new Uint8Array(sequences.length).fill(1),
  temperatures: new Float32Array(sequences.length).fill(1),
  keep: false,
});
const digest = (scores: readonly TokenLogprobs[]) => {
  const hash = createHash("sha256");
  for (const { logprobs } of scores) hash.update(logprobs);
  return hash.digest("hex");
};
const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));
const filled = (value: number, rank = 2) =>
  Adapter.create(engine, { r: rank }).withVector(new Float32Array(13).fill(value));

describe("a generation", () => {
  it("is sampled once, however often it is awaited", async () => {
    const generation = engine.generate("one", { maxCompletionLength: 4 });
    const [first, second] = await Promise.all([generation, generation]);
    expect(second).toBe(first);
    expect(await generation).toBe(first);
  });

  it("has the methods of a promise", async () => {
    const refused = engine.generate("one", { topP: 0 });
    expect(await refused.catch((error: unknown) => (error as Error).message)).toMatch(/^topP: expected/);
    let ended = 0;
    const generation = engine.generate("one", { maxCompletionLength: 2 }).finally(() => {
      ended++;
    });
    expect(await generation).toHaveLength(1);
    expect(ended).toBe(1);
  });

  it.each<[GenerateOptions, string]>([
    [{ temperature: "0" as never }, 'Expected a number for temperature but received "0"'],
    [{ seed: 1.5 }, "Expected a whole number from 0 to 9007199254740991 for seed but received 1.5"],
    [{ topP: 2 }, "topP: expected more than 0 and at most 1, found 2"],
    [{ minP: -1 }, "minP: expected 0 to 1, found -1"],
    [{ numGenerations: 65537 }, "numGenerations: expected 1 to 65536, found 65537"],
    [{ stopTokens: [258] }, "stopTokens: expected ids from 0 to 257, found 258"],
    [{ stop: ["a", ""] }, 'stop: expected a list of texts that are not empty, found ["a",""]'],
  ])("refuses %j by the option's own name", async (options, message) => {
    await expect(engine.generate("one", options)).rejects.toMatchObject({ code: "ERR_ARGUMENT", message });
  });

  it("refuses a completion that the cache does not hold by the cache's own option", async () => {
    await using small = await Engine.load(model, { threads: 1, cacheTokens: 64 });
    const options = { maxCompletionLength: 100, stopTokens: [] };
    const message = /^prompt 0: prompt and completion of \d+ tokens: .* 64 positions of the cache \(cacheTokens\) and/;
    await expect(small.generate("one", options)).rejects.toThrow(message);
    await expect(small.stream("one", options).next()).rejects.toThrow(message);
  });

  it("leaves the program its turns while thousands of prompts are tokenized", async () => {
    const prompts = texts(20_000);
    let now = 0;
    const clock = vi.spyOn(performance, "now").mockImplementation(() => (now += 10)); // of a slow machine
    const tokenize = vi.spyOn(engine.tokenizer, "encode");
    const controller = new AbortController();
    const generation = engine.generate(prompts, { maxCompletionLength: 1, signal: controller.signal });
    const ended = generation.catch((error: unknown) => error);
    await new Promise((resolve) => setImmediate(resolve));
    expect(tokenize.mock.calls.length).toBeGreaterThan(0);
    controller.abort(new Error("enough"));
    expect(await ended).toMatchObject({ message: "enough" });
    expect(tokenize.mock.calls.length).toBeLessThan(prompts.length);
    tokenize.mockRestore();
    clock.mockRestore();
  });
});

describe("a signal", () => {
  const reason = new Error("enough");
  const aborted = AbortSignal.abort(reason);

  it("that is aborted already refuses every call with its reason", async () => {
    await engine.attach(filled(0));
    await expect(engine.attach(filled(0), { signal: aborted })).rejects.toBe(reason);
    await expect(engine.logprobs([], { signal: aborted })).rejects.toBe(reason);
    await expect(engine.generate([], { signal: aborted })).rejects.toBe(reason);
    await expect(Engine.load(model, { signal: aborted })).rejects.toBe(reason);
  });

  it("ends a load between two tensors", async () => {
    const controller = new AbortController();
    let calls = 0;
    const onProgress = () => {
      calls++;
      controller.abort(reason);
    };
    await expect(Engine.load(model, { signal: controller.signal, onProgress })).rejects.toBe(reason);
    expect(calls).toBe(1);
  });

  it("does not wait for the passes of others", async () => {
    let over = false;
    const others = engine.forward(onePass(ids(200))).then(() => {
      over = true;
    });
    const controller = new AbortController();
    const waiting = engine.logprobs(["one"], { signal: controller.signal });
    for (let turn = 0; turn < 50; turn++) await undefined; // in which nothing native can end
    controller.abort(reason);
    await expect(waiting).rejects.toBe(reason);
    expect(over).toBe(false);
    await others;
  });

  it("ends a pass that has waited for another, at whatever moment it comes", async () => {
    for (let moment = 0; moment < 12; moment++) {
      const controller = new AbortController();
      const before = engine.forward(onePass(ids(1)));
      const waiting = engine.forward(onePass(ids(200)), controller.signal).then(
        () => "made",
        (error) => error,
      );
      await before;
      for (let turn = 0; turn < moment; turn++) await undefined;
      controller.abort(reason);
      expect(await waiting).toBe(reason);
    }
  });

  it("may serve many calls at once, without a warning, and keeps no listener", async () => {
    const warnings: Error[] = [];
    const listen = (warning: Error) => void warnings.push(warning);
    process.on("warning", listen);
    const { signal } = new AbortController();
    await Promise.all(Array.from({ length: 30 }, () => engine.generate("one", { maxCompletionLength: 2, signal })));
    await Promise.all(Array.from({ length: 30 }, () => engine.logprobs(["one"], { signal })));
    await pause(1);
    process.off("warning", listen);
    expect(warnings).toEqual([]);
    expect(getEventListeners(signal, "abort")).toEqual([]);
  });

  it("ends each of many calls", async () => {
    const controller = new AbortController();
    const { signal } = controller;
    const first = engine.forward(onePass(ids(1))).then(() => controller.abort(reason));
    const calls = [
      ...Array.from({ length: 12 }, () => engine.generate("one", { ...long, signal }).then()),
      ...Array.from({ length: 12 }, () => engine.logprobs(ids(1000), { signal })),
    ];
    await first;
    const results = await Promise.allSettled(calls);
    expect(results.map((result) => (result as PromiseRejectedResult).reason)).toEqual(Array(24).fill(reason));
  });
});

describe("a listener of progress that throws", () => {
  const mine = new Error("mine");
  const onProgress = () => {
    throw mine;
  };

  it("ends the load, and the SVD, with its error", async () => {
    await expect(Engine.load(model, { onProgress })).rejects.toBe(mine);
    await expect(engine.attach(filled(0, 5), { onProgress })).rejects.toBe(mine);
    await engine.attach(filled(0, 5));
  });
});

describe("dispose", () => {
  it("ends what runs and what waits", async () => {
    const short = await Engine.load(model, { threads: 1 });
    const first = short.forward(onePass(ids(1))).then(() => short.dispose());
    const calls = [short.generate("one", long).then(), short.logprobs(ids(1000)), short.logprobs(ids(1000))];
    await first;
    const results = await Promise.allSettled(calls);
    for (const { reason } of results as PromiseRejectedResult[])
      expect(reason.code).toMatch(/^ERR_(ABORTED|DISPOSED)$/);
  });

  it("leaves nothing for a signal to end that comes after it", async () => {
    const short = await Engine.load(model, { threads: 1 });
    const controller = new AbortController();
    const first = short.forward(onePass(ids(1)));
    const scores = short.logprobs(ids(200), { signal: controller.signal });
    await first;
    short.dispose();
    controller.abort(new Error("enough"));
    await expect(scores).rejects.toThrow(/^enough$/);
  });
});

describe("callers that share an engine", () => {
  it("score with the adapter that was attached when they asked", async () => {
    const [one, two] = [filled(0.5), filled(-0.5)];
    const sequences = ids(160);
    await engine.attach(two);
    const ofTwo = digest(await engine.logprobs(sequences));
    await engine.attach(one);
    const ofOne = digest(await engine.logprobs(sequences));
    expect(ofTwo).not.toBe(ofOne);
    const first = engine.logprobs(sequences);
    const attached = engine.attach(two);
    expect(digest(await first)).toBe(ofOne);
    await attached;
    expect(digest(await engine.logprobs(sequences))).toBe(ofTwo);
  });

  it("attach one after another", async () => {
    const adapters = [filled(0.1, 2), filled(0.2, 3), filled(0.3, 3), filled(0.4, 2)];
    await engine.attach(adapters[1]!);
    await Promise.all(adapters.map((adapter) => engine.attach(adapter)));
    const found = digest(await engine.logprobs(["some text"]));
    const expected: string[] = [];
    for (const adapter of adapters) {
      await engine.attach(adapter);
      expected.push(digest(await engine.logprobs(["some text"])));
    }
    expect(expected).toContain(found);
  });

  it("attach what was attached when they asked, though another call has replaced it meanwhile", async () => {
    const [two, three] = [filled(0.2, 2), filled(0.3, 3)];
    await engine.attach(three);
    await engine.attach(two);
    const expected = digest(await engine.logprobs(["some text"]));
    const long = engine.logprobs(ids(480));
    const other = engine.attach(three);
    await pause(100); // its SVD is read, and it waits for its turn
    await Promise.all([long, other, engine.attach(two)]);
    expect(digest(await engine.logprobs(["some text"]))).toBe(expected);
  });

  const problems = Array.from({ length: 4 }, (_, i) => ({ id: `${i}`, question: `ask ${i}`, answer: "7", row: {} }));
  const trainer = () =>
    new GrpoTrainer({
      engine,
      adapter: Adapter.create(engine),
      data: { name: "own", train: problems, test: [] },
      rewards: { length: (completion) => completion.length },
      config: { num_prompts: 2, num_generations: 4, max_completion_length: 16, max_steps: 3, eval_steps: 0, shots: 0 },
    });

  it("train one at a time", async () => {
    const alone = String((await trainer().train()).adapter);
    const [first, second] = await Promise.allSettled([trainer().train(), trainer().train()]);
    expect(first).toMatchObject({ status: "fulfilled" });
    expect(second).toMatchObject({ status: "rejected", reason: code("ERR_STATE") });
    expect(String((first as PromiseFulfilledResult<{ adapter: Adapter }>).value.adapter)).toBe(alone);
    expect(String((await trainer().train()).adapter)).toBe(alone);
  });

  it("find in onStep what the step made", async () => {
    const found: string[] = [];
    const result = await trainer().train({
      onStep: async () => void found.push(digest(await engine.logprobs(["some text"]))),
    });
    expect(new Set(found).size).toBe(3);
    await engine.attach(result.adapter);
    expect(digest(await engine.logprobs(["some text"]))).toBe(found.at(-1));
  });

  it("do not take the adapter away that is being trained", async () => {
    const alone = String((await trainer().train()).adapter);
    const refusals: unknown[] = [];
    const onStep = () => engine.attach(filled(0.5, 3)).catch((error: unknown) => void refusals.push(error));
    expect(String((await trainer().train({ onStep })).adapter)).toBe(alone);
    expect(refusals).toEqual(Array(3).fill(code("ERR_STATE")));
    await engine.attach(filled(0.5, 3));
  });
});

describe("a trainer", () => {
  it("on the embedded model needs to be told no data", async () => {
    const embedded = await Engine.load(findModel("embedded"), { threads: 2 });
    try {
      const asked: string[] = [];
      const trainer = new GrpoTrainer({
        engine: embedded,
        adapter: Adapter.create(embedded),
        rewards: { asks: (_, problem) => Number(asked.push(problem.id) > 0) },
        config: { max_steps: 1, num_prompts: 1, num_generations: 2, max_completion_length: 8, eval_steps: 0 },
      });
      await trainer.train();
      expect(asked).toEqual([expect.stringMatching(/^embedded/), expect.stringMatching(/^embedded/)]);
    } finally {
      embedded.dispose();
    }
  });
});
