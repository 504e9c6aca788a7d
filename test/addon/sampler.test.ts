import { afterAll, describe, expect, it } from "vitest";
import type { Dtype, EngineSpec, SampleEvent } from "../../lib/native/addon.js";
import { loadAddon } from "../../lib/native/load.js";
import { devices } from "../cudasim/build.js";
import { prompt, randomBasis, request, sample, score, scoresOf, tokensOf, withEngine } from "./sampling.js";
import { writeTinyModel } from "./tiny-model.js";

const addon = loadAddon();
const model = writeTinyModel();
afterAll(() => model.remove());

const kinds = devices.flatMap((device) => (["fp32", "bf16"] as Dtype[]).map((dtype) => ({ ...device, dtype })));

/** Lengths around the 32 positions of a page; fewer where kernels are interpreted. */
const lengthsOn = (device: string) => (device === "cudasim" ? [1, 33, 64] : [1, 3, 31, 32, 33, 64, 100]);

describe.each(kinds)("sampler on $name in $dtype", ({ on, dtype, leftOut }) => {
  const lengths = lengthsOn(on.device);
  const spec = (changes: Partial<EngineSpec> = {}) => model.spec({ ...on, dtype, ...changes });
  const group = (length: number, changes = {}) =>
    request({
      id: length,
      prompt: prompt(length),
      numGenerations: 4,
      maxCompletionLength: 40,
      firstSequence: length * 10,
      ...changes,
    });

  it.skipIf(leftOut)("records the log-probabilities and entropies of the training pass, bit for bit", async () => {
    await withEngine(addon, spec(), async (engine) => {
      engine.setBasis(randomBasis(engine, 2));
      engine.setVector(1, Float32Array.from([0.3, -0.2]));
      for (const length of lengths) {
        for (const how of [
          { slot: -1 },
          { slot: 1, temperature: 0.7 },
          { slot: 1, temperature: 0, numGenerations: 1 },
        ]) {
          const what = group(length, how);
          const completions = await sample(engine, what);
          const scored = await score(engine, what, completions);
          expect(scoresOf(completions)).toEqual(scored);
        }
      }
    });
  });

  it.skipIf(leftOut)("gives the same completions in any company", async () => {
    const alone = await withEngine(addon, spec({ threads: 1 }), async (engine) => {
      const all = [];
      for (const length of lengths) all.push(tokensOf(await sample(engine, group(length))));
      return all;
    });
    const together = { threads: 3, maxSequences: 64 };
    const crowded = { threads: 2, maxSequences: 3 };
    const cramped = { threads: 2, maxSequences: 64, cacheTokens: 160 }; // groups are admitted in parts
    for (const changes of [together, crowded, cramped]) {
      await withEngine(addon, spec(changes), async (engine) => {
        const all = await Promise.all(lengths.map((length) => sample(engine, group(length))));
        expect(all.map(tokensOf)).toEqual(alone);
      });
    }
  });

  it.skipIf(leftOut)("gives a completion the same tokens whatever its group", async () => {
    await withEngine(addon, spec(), async (engine) => {
      const all = tokensOf(await sample(engine, group(33)));
      for (let i = 0; i < 4; i++) {
        const one = await sample(engine, group(33, { numGenerations: 1, firstSequence: 330 + i }));
        expect(tokensOf(one)[0]).toEqual(all[i]);
      }
    });
  });
});

describe("sampler", () => {
  it("prefills a long prompt in pieces, beside sequences that run", async () => {
    const long = writeTinyModel({ context: 4096 });
    const what = request({ id: 2, prompt: prompt(1500), numGenerations: 3, maxCompletionLength: 20 });
    const spec = long.spec({ cacheTokens: 8192 });
    const alone = await withEngine(addon, spec, async (engine) => {
      const completions = await sample(engine, what);
      expect(scoresOf(completions)).toEqual(await score(engine, what, completions));
      return tokensOf(completions);
    });
    await withEngine(addon, spec, async (engine) => {
      const first = sample(engine, request({ maxCompletionLength: 300 }));
      const others = [700, 512, 1025].map((length) => sample(engine, request({ id: length, prompt: prompt(length) })));
      expect(tokensOf(await sample(engine, what))).toEqual(alone);
      await Promise.all([first, ...others]);
    });
    long.remove();
  });

  it("is greedy at temperature 0 and varies with seed and sequence otherwise", async () => {
    await withEngine(addon, model.spec(), async (engine) => {
      const greedy = await sample(engine, request({ temperature: 0, numGenerations: 2 }));
      expect(greedy[0]?.tokens).toEqual(greedy[1]?.tokens);
      const narrow = await sample(engine, request({ topK: 1 }));
      expect(narrow[0]?.tokens).toEqual(greedy[0]?.tokens);
      const drawn = await sample(engine, request({ numGenerations: 2 }));
      const again = await sample(engine, request({ numGenerations: 2, seed: 6 }));
      expect(drawn[0]?.tokens).not.toEqual(drawn[1]?.tokens);
      expect(drawn[0]?.tokens).not.toEqual(again[0]?.tokens);
    });
  });

  it("ends at a stop token and keeps it", async () => {
    await withEngine(addon, model.spec(), async (engine) => {
      const [free] = await sample(engine, request({ maxCompletionLength: 20 }));
      const stop = free!.tokens[6]!;
      const [stopped] = await sample(engine, request({ maxCompletionLength: 20, stopTokens: Int32Array.from([stop]) }));
      const end = free!.tokens.indexOf(stop) + 1;
      expect(stopped).toMatchObject({ reason: "stop", tokens: free!.tokens.slice(0, end) });
      expect(free).toMatchObject({ reason: "length" });
    });
  });

  it("ends at a stop string that spans tokens", async () => {
    // Three letters only, so that the text is valid UTF-8.
    const letters = writeTinyModel({ vocab: 100 });
    await withEngine(addon, letters.spec(), async (engine) => {
      const [free] = await sample(engine, request({ prompt: Int32Array.from([65, 66]), maxCompletionLength: 60 }));
      const text = String.fromCharCode(...free!.tokens);
      const stop = text.slice(20, 24);
      const what = {
        prompt: Int32Array.from([65, 66]),
        maxCompletionLength: 60,
        stopStrings: ["never this one", stop],
      };
      const [stopped] = await sample(engine, request(what));
      expect(stopped?.reason).toBe("stop");
      expect(String.fromCharCode(...stopped!.tokens)).toBe(text.slice(0, text.indexOf(stop) + 4));
    });
    letters.remove();
  });

  it("streams the tokens that it finishes with", async () => {
    await withEngine(addon, model.spec(), async (engine) => {
      const events: SampleEvent[] = [];
      const finished = await sample(engine, request({ numGenerations: 3, stream: true }), (event) =>
        events.push(event),
      );
      for (const { completion, tokens, logprobs } of finished) {
        const parts = events.filter((event) => event.type === "tokens" && event.completion === completion);
        const streamed = parts.flatMap((event) => (event.type === "tokens" ? [...event.tokens] : []));
        const numbers = parts.flatMap((event) => (event.type === "tokens" ? [...event.logprobs] : []));
        expect(streamed).toEqual([...tokens]);
        expect(numbers).toEqual([...logprobs]);
      }
      expect(events.at(-1)?.type).toBe("finished");
    });
  });

  it("ends at the context length", async () => {
    await withEngine(addon, model.spec(), async (engine) => {
      const [cut] = await sample(engine, request({ prompt: prompt(310), maxCompletionLength: 1000 }));
      expect(cut).toMatchObject({ reason: "length" });
      expect(cut?.tokens.length).toBe(10);
    });
  });

  it("cancels running, waiting and unknown requests", async () => {
    await withEngine(addon, model.spec({ maxSequences: 2 }), async (engine) => {
      const running = sample(engine, request({ id: 1, numGenerations: 4, maxCompletionLength: 300 }));
      const waiting = sample(engine, request({ id: 2, numGenerations: 2 }));
      const kept = sample(engine, request({ id: 3 }));
      engine.cancel(2);
      engine.cancel(99);
      expect((await waiting).map(({ reason }) => reason)).toEqual(["aborted", "aborted"]);
      engine.cancel(1);
      expect((await running).map(({ reason }) => reason)).toContain("aborted");
      expect((await kept)[0]?.reason).toBe("length");
    });
  });

  it("frees the pages of what has ended", async () => {
    await withEngine(addon, model.spec({ cacheTokens: 320, maxSequences: 4 }), async (engine) => {
      for (let round = 0; round < 10; round++) {
        const all = [50, 33, 64].map((length) =>
          sample(engine, request({ id: length, prompt: prompt(length), numGenerations: 3 })),
        );
        if (round % 2 === 1) engine.cancel(33);
        await Promise.all(all);
      }
      await sample(engine, request({ prompt: prompt(300), maxCompletionLength: 20 })); // needs all of them
    });
  });

  it("tells the version of the vector and protects the slots in use", async () => {
    await withEngine(addon, model.spec(), async (engine) => {
      const basis = randomBasis(engine, 2);
      engine.setBasis(basis);
      expect(engine.setVector(0, Float32Array.from([0.1, 0.2]))).toBe(1);
      expect(engine.setVector(0, Float32Array.from([0.1, 0.3]))).toBe(2);
      const sampling = sample(engine, request({ id: 7, slot: 0, numGenerations: 1000, maxCompletionLength: 300 })); // outlasts the lines below
      expect(() => engine.setVector(0, new Float32Array(2))).toThrow("expected no unfinished requests of slot 0");
      expect(() => engine.setBasis(basis)).toThrow("expected no unfinished requests");
      expect(engine.setVector(1, new Float32Array(2))).toBe(1);
      engine.cancel(7); // from then on it protects nothing, also while its last step is running
      expect(engine.setVector(0, Float32Array.from([0.1, 0.4]))).toBe(3);
      engine.setBasis(basis);
      expect((await sampling)[0]).toMatchObject({ version: 2 });
      expect((await sample(engine, request()))[0]).toMatchObject({ version: 0 });
    });
  });

  it("changes vectors of free slots between two steps, and refuses those of slots in use", async () => {
    await withEngine(addon, model.spec(), async (engine) => {
      engine.setBasis(randomBasis(engine, 20));
      const what = request({ id: 7, slot: 0, numGenerations: 30, maxCompletionLength: 300, stream: true });
      const undisturbed = await sample(engine, what);
      let steps = 0;
      const sampling = sample(engine, what, (event) => {
        if (event.type === "tokens" && event.completion === 0) steps++;
      });
      const pass = score(engine, what, undisturbed); // all changes are asked for while it runs
      const refused = engine.changeVector(0, new Float32Array(2)).catch((error: unknown) => error);
      const slots = Array.from({ length: 19 }, (_, i) => i + 1);
      const changes = slots.map((slot) => engine.changeVector(slot, Float32Array.of(slot, 1)));
      expect(await changes[0]).toBe(1);
      const before = steps;
      await Promise.all(changes);
      expect(steps - before).toBeLessThan(10); // not one for each change
      expect(await refused).toMatchObject({ message: "changeVector: expected no unfinished requests of slot 0" });
      await pass;
      expect(tokensOf(await sampling)).toEqual(tokensOf(undisturbed));
      const changed = await sample(engine, { ...what, slot: 19 });
      expect(changed[0]).toMatchObject({ version: 1 });
      expect(tokensOf(changed)).not.toEqual(tokensOf(undisturbed));
    });
  });

  it("fails only the request whose logits are not finite, and leaves nothing of it behind", async () => {
    await withEngine(addon, model.spec(), async (engine) => {
      const before = tokensOf(await sample(engine, request({ numGenerations: 4, maxCompletionLength: 100 })));
      engine.setBasis(randomBasis(engine, 1));
      engine.setVector(0, Float32Array.from([3e38, -3e38]));
      const bad = sample(engine, request({ id: 2, slot: 0, numGenerations: 3, prompt: prompt(40) }));
      const good = sample(engine, request({ numGenerations: 4, maxCompletionLength: 100 }));
      await expect(bad).rejects.toMatchObject({ code: "ERR_NUMERIC" });
      expect(tokensOf(await good)).toEqual(before);
      expect(tokensOf(await sample(engine, request({ numGenerations: 4, maxCompletionLength: 100 })))).toEqual(before);
    });
  });
});
