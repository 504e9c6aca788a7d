import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import {
  Adapter,
  type Completion,
  Engine,
  plotFolders,
  replayStep,
  runSweep,
  type StreamPiece,
} from "../../lib/index.js";
import { writeTinyModel } from "../tiny-model.js";

let folder: string;
let model: string;
let engine: Engine;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "tinylora-engine-"));
  process.env.TINYLORA_CACHE = join(folder, "cache");
  model = await writeTinyModel(join(folder, "model"));
  engine = await Engine.load(model, { threads: 2, maxSequences: 8, cacheTokens: 2048 });
});
afterAll(async () => {
  engine.dispose();
  await rm(folder, { recursive: true });
});

const SHIFT = Float32Array.of(0.5, -0.25, 0.125);

async function shifted(): Promise<Adapter> {
  return Adapter.create(engine, { u: 3 }).withVector(SHIFT);
}

describe("errors", () => {
  it("an adapter of another model", async () => {
    const other = await Engine.load(await writeTinyModel(join(folder, "other"), 2), { threads: 1 });
    const adapter = Adapter.create(other);
    other.dispose();
    await expect(engine.attach(adapter)).rejects.toThrow(
      `made for another base model: expected weights with fingerprint ${adapter.fingerprint}`,
    );
  });

  it("adapters side by side that differ in more than v and projection", async () => {
    await expect(engine.attach([Adapter.create(engine, { u: 3 }), Adapter.create(engine, { u: 4 })])).rejects.toThrow(
      "must differ in v and projection only",
    );
  });

  it("an instruction set of the CPU for another device", async () => {
    const loaded = Engine.load(model, { device: "reference", cpuPath: "avx2" });
    await expect(loaded).rejects.toThrow("cpuPath: expected nothing, since device is reference, found avx2");
  });

  it("a slot that is not there, a prompt that is too long, an aborted signal", async () => {
    await engine.attach(await shifted());
    await expect(engine.generate("x", { adapter: 1 })).rejects.toThrow(
      'adapter: expected "base" or a slot below 1, found 1',
    );
    await expect(engine.generate("x".repeat(2100))).rejects.toMatchObject({ name: "TinyLoraError" });
    await expect(engine.generate("x", { signal: AbortSignal.abort() })).rejects.toMatchObject({ name: "AbortError" });
  });

  it("prompts and stop texts that are none", async () => {
    const prompts = [undefined, 7, { role: "user" }, [null], [{ role: "user", content: 5 }], [[{ role: 1 }]], [7]];
    for (const prompt of prompts) {
      await expect((async () => engine.generate(prompt as never))()).rejects.toMatchObject({ code: "ERR_ARGUMENT" });
    }
    await expect(engine.logprobs([null] as never)).rejects.toThrow("prompt 0: expected a text, messages with role and");
    await expect(engine.generate("x", { stop: "END" as never })).rejects.toThrow(
      'stop: expected a list of texts that are not empty, found "END"',
    );
  });

  it("options that are none", async () => {
    const misspelt: object = { max_new_tokens: 5 };
    for (const [call, name] of [
      [() => engine.generate("x", misspelt), "generate"],
      [() => engine.stream("x", misspelt).next(), "stream"],
      [() => engine.logprobs(["x"], misspelt), "logprobs"],
      [() => engine.attach([], misspelt), "attach"],
      [() => Engine.load(model, misspelt), "Engine.load"],
      [() => runSweep(misspelt as never), "runSweep"],
      [() => replayStep(misspelt as never), "replayStep"],
      [() => plotFolders(misspelt as never), "plotFolders"],
    ] as const) {
      await expect(call()).rejects.toThrow(`${name}: unknown option max_new_tokens, expected some of `);
    }
    await expect(engine.generate("x", null as never)).rejects.toThrow("generate: expected options by name, found null");
    expect(() => Adapter.create(engine, { rank: 4 } as object)).toThrow(
      "Adapter.create: unknown option rank, expected some of kind, r, u,",
    );
  });

  it("calls after dispose", async () => {
    const other = await Engine.load(model, { threads: 1 });
    other.dispose();
    other.dispose();
    await expect(other.logprobs(["x"])).rejects.toMatchObject({ code: "ERR_DISPOSED" });
    await expect(other.generate("x")).rejects.toMatchObject({ code: "ERR_DISPOSED" });
  });
});

describe("generate", () => {
  const options = { numGenerations: 3, maxCompletionLength: 12, seed: 7 };

  it("gives completions prompt by prompt, the same however they are asked for", async () => {
    const all = await engine.generate(["one", "two"], options);
    expect(all.map(({ prompt, index }) => [prompt, index])).toEqual([
      [0, 0],
      [0, 1],
      [0, 2],
      [1, 0],
      [1, 1],
      [1, 2],
    ]);
    const found: Completion[] = [];
    for await (const completion of engine.generate(["one", "two"], options)) found.push(completion);
    expect(found.sort((x, y) => x.prompt - y.prompt || x.index - y.index)).toEqual(all);
    for (const { tokens, logprobs } of all) expect(logprobs).toHaveLength(tokens.length);
  });

  it("streams the text that it would give at once", async () => {
    const [whole] = await engine.generate("one", { maxCompletionLength: 30, temperature: 0 });
    const pieces: StreamPiece[] = [];
    for await (const piece of engine.stream("one", { maxCompletionLength: 30, temperature: 0 })) pieces.push(piece);
    expect(pieces.map(({ text }) => text).join("")).toBe(whole!.text);
    expect(pieces.map(({ reason }) => reason).filter(Boolean)).toEqual([whole!.reason]);
    expect(pieces.at(-1)!.reason).toBe(whole!.reason);
  });

  it("does not take a disposed engine's last piece for the end of the text", async () => {
    const other = await Engine.load(model, { threads: 1 });
    const stream = other.stream("one", { maxCompletionLength: 2000, stopTokens: [] });
    await stream.next();
    other.dispose();
    const rest = async () => {
      for await (const _ of stream);
    };
    await expect(rest()).rejects.toMatchObject({ code: "ERR_ABORTED" });
  });

  it("stops when the loop is left or the signal comes", async () => {
    for await (const _ of engine.generate("one", { numGenerations: 8, maxCompletionLength: 400 })) break;
    const controller = new AbortController();
    const generation = engine
      .generate("one", { numGenerations: 8, maxCompletionLength: 400, signal: controller.signal })
      .then();
    controller.abort();
    await expect(generation).rejects.toMatchObject({ name: "AbortError" });
    expect(await engine.generate("one", { maxCompletionLength: 1 })).toHaveLength(1);
  });
});

describe("adapters", () => {
  it("can be attached as soon as a call has been given up", async () => {
    const adapter = await shifted();
    await engine.attach(adapter);
    for (let time = 0; time < 5; time++) {
      for await (const _ of engine.generate(["one", "two"], { numGenerations: 8, maxCompletionLength: 1 + 400 * time }))
        break;
      await engine.attach(adapter);
    }
  });

  it("are the base model at v = 0, to the bit", async () => {
    await engine.attach(Adapter.create(engine, { u: 3 }));
    const [base, zero] = [
      await engine.logprobs(["some text"], { adapter: "base" }),
      await engine.logprobs(["some text"]),
    ];
    expect(zero).toEqual(base);
  });

  it("sampled log-probabilities are those of scoring, to the bit, with several adapters in one batch", async () => {
    const adapter = await shifted();
    await engine.attach([adapter, adapter.withVector([1, 1, 1])]);
    const prompt = engine.tokenizer.encode("once upon");
    for (const slot of [0, 1, "base"] as const) {
      const completions = await engine.generate(prompt, {
        numGenerations: 4,
        maxCompletionLength: 20,
        adapter: slot,
        seed: 3,
      });
      const sequences = completions.map(({ tokens }) => Int32Array.of(...prompt, ...tokens));
      const scores = await engine.logprobs(sequences, { adapter: slot });
      for (const [i, { logprobs }] of completions.entries()) {
        expect(scores[i]!.logprobs.subarray(prompt.length)).toEqual(logprobs);
      }
    }
    const [one, two] = [await engine.logprobs(["abc"], { adapter: 0 }), await engine.logprobs(["abc"], { adapter: 1 })];
    expect(one).not.toEqual(two);
  });

  it("are the same from a folder, a self-contained folder and a short string", async () => {
    const adapter = await shifted();
    await engine.attach(adapter);
    const expected = await engine.logprobs(["some text"]);
    await adapter.save(join(folder, "plain"));
    await adapter.save(join(folder, "own"), engine.basis());
    for (const source of [join(folder, "plain"), join(folder, "own"), adapter.toString()]) {
      await engine.attach(Adapter.create(engine, { r: 1 }));
      await engine.attach(await Adapter.load(source));
      expect(await engine.logprobs(["some text"])).toEqual(expected);
    }
  });

  it("take their SVD from the cache, and make a damaged one again", async () => {
    const cache = join(folder, "cache", "svd");
    const adapter = Adapter.create(engine, { r: 3 }).withVector(new Float32Array(13).fill(0.3));
    await engine.attach(adapter);
    const expected = await engine.logprobs(["some text"]);
    const name = (await readdir(cache)).find((file) => file.endsWith("r3.safetensors"))!;
    const good = await readFile(join(cache, name));
    const bad = Buffer.from(good);
    bad[bad.length - 2]! ^= 64;
    await writeFile(join(cache, name), bad);
    await engine.attach(Adapter.create(engine, { r: 1 }));
    await engine.attach(adapter);
    expect(await engine.logprobs(["some text"])).toEqual(expected);
    expect(await readFile(join(cache, name))).toEqual(good);
  });
});
