// What the engine refuses, and in whose words.
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Adapter, Engine, type EngineOptions, type EvaluateOptions, evaluate, type Prompt } from "../../lib/index.js";
import { show } from "../../lib/show.js";
import { writeTinyModel } from "../tiny-model.js";

let folder: string;
let model: string;
let engine: Engine;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "tinylora-refusals-"));
  process.env.TINYLORA_CACHE = join(folder, "cache");
  model = await writeTinyModel(join(folder, "model"));
  engine = await Engine.load(model, { dtype: "fp32", threads: 2 });
});
afterAll(async () => {
  engine.dispose();
  await rm(folder, { recursive: true });
});

const texts = (count: number) => Array.from({ length: count }, (_, i) => `text ${i} `.repeat(20));

it.each<[EngineOptions, string]>([
  [{ cacheTokens: 1 }, "Expected a whole number from 32 to 268435456 for cacheTokens but received 1"],
  [{ maxSequences: 0 }, "Expected a whole number from 1 to 65536 for maxSequences but received 0"],
  [{ threads: 1.5 }, "Expected a whole number from 1 to 1024 for threads but received 1.5"],
  [{ dtype: "fp8" as never }, 'Expected "fp32", "bf16" or "fp16" for dtype but received "fp8"'],
  [{ cpuPath: 4 as never }, "Expected a string for cpuPath but received 4"],
])("loading refuses %j by the option's own name", async (options, message) => {
  await expect(Engine.load(model, options)).rejects.toMatchObject({ code: "ERR_ARGUMENT", message });
});

it.each([0, -1, Number.NaN, "1", 1e31])("scoring refuses the temperature %j", async (temperature) => {
  const message = `temperature: expected 1e-30 to 1e+30, found ${show(temperature)}`;
  const scores = engine.logprobs(["one"], { temperature: temperature as number });
  await expect(scores).rejects.toMatchObject({ code: "ERR_ARGUMENT", message });
});

describe("an evaluation", () => {
  const problems = [{ id: "one", question: "1+1?", answer: "2", row: {} }];

  it.each<[string, EvaluateOptions, string]>([
    [
      "of an adapter where none is attached",
      { slot: 0 },
      "slot: expected -1, the base model, since no adapter is attached, found 0",
    ],
    [
      "of a slot that is none",
      { slot: 0.5 },
      "Expected a whole number from -1 to 2147483647 for slot but received 0.5",
    ],
  ])("%s is refused", async (_, options, message) => {
    const bare = await Engine.load(model, { threads: 1 });
    const refused = evaluate(bare, problems, { shots: 0, ...options });
    await expect(refused).rejects.toMatchObject({ code: "ERR_ARGUMENT", message });
    bare.dispose();
  });
});

describe("prompts that are none", () => {
  it.each<[string, unknown, RegExp]>([
    ["nothing", undefined, /^prompt 0: expected a text, messages .* found undefined/],
    ["numbers", [1, 2, 3], /^prompt 0: expected a text, messages .* an Int32Array of token ids, found 1/],
    ["an array of numbers in a list", ["one", [1, 2, 3]], /^prompt 1: expected .*, found \[1,2,3\]/],
    ["a message without content", [{ role: "user" }], /^prompt 0: expected .*role and content.*, found/],
    ["content in parts", [{ role: "user", content: [{ type: "text", text: "hi" }] }], /^prompt 0: expected/],
    ["an empty text", ["one", ""], /^prompt 1: expected at least one token/],
    ["a text without room", ["one", "word ".repeat(3000)], /^prompt 1: expected fewer tokens than the context length/],
  ])("%s", async (_, prompts, message) => {
    const error = await engine.generate(prompts as Prompt[], { maxCompletionLength: 2 }).catch((e: unknown) => e);
    expect(error).toMatchObject({ code: "ERR_ARGUMENT", message: expect.stringMatching(message) });
  });

  it("for scoring, by their place in the call", async () => {
    const score = (sequences: unknown) => engine.logprobs(sequences as Prompt[]);
    await expect(score("text")).rejects.toThrow(/^logprobs: expected a list of sequences, found "text"/);
    await expect(score([...texts(60), ""])).rejects.toThrow(/^prompt 60: expected 1 to \d+ tokens/);
    await expect(score([...texts(60), "word ".repeat(3000)])).rejects.toThrow(/^prompt 60: expected 1 to \d+ tokens/);
    await expect(score([[1, 2]])).rejects.toThrow(/^prompt 0: expected a text/);
    for (const id of [-1, 258]) {
      const ids = Int32Array.of(3, id);
      await expect(score([...texts(60), ids])).rejects.toThrow(`prompt 60: expected ids from 0 to 257, found ${id}`);
    }
  });

  it("and other arguments", async () => {
    const stop = { maxCompletionLength: 2, stop: "ab" as unknown as string[] };
    await expect(engine.generate("one", stop)).rejects.toThrow(
      'stop: expected a list of texts that are not empty, found "ab"',
    );
    for (const stopTokens of [[1.5], [2 ** 32 + 1], "12"] as number[][]) {
      const one = engine.generate("one", { maxCompletionLength: 2, stopTokens });
      await expect(one).rejects.toThrow(/^stopTokens: expected a list of token ids, found /);
    }
    const attach = engine.attach("tl1-abc" as unknown as Adapter);
    await expect(attach).rejects.toThrow('attach: expected what Adapter.load gives, found "tl1-abc"');
    const standard = await engine.generate("one", { maxCompletionLength: 2 });
    for (const none of [undefined, null as never]) {
      const options = { numGenerations: none, temperature: none, topP: none, topK: none, minP: none, seed: none };
      const more = { stop: none, stopTokens: none, adapter: none, signal: none };
      expect(await engine.generate("one", { maxCompletionLength: 2, ...options, ...more })).toEqual(standard);
    }
    expect(Adapter.create(engine, { r: undefined, u: undefined, dtype: undefined }).spec).toEqual(
      Adapter.create(engine).spec,
    );
  });
});
