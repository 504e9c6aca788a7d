// Many adapters from one base model: one slot changed while others are sampled, and a pool of few slots for many adapters.
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Adapter, AdapterPool, Engine, GrpoTrainer } from "../../lib/index.js";
import { writeTinyModel } from "../tiny-model.js";

let folder: string;
let engine: Engine;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "tinylora-pool-"));
  process.env.TINYLORA_CACHE = join(folder, "cache");
  engine = await Engine.load(await writeTinyModel(join(folder, "model")), { dtype: "fp32", threads: 2 });
});
afterAll(async () => {
  engine.dispose();
  await rm(folder, { recursive: true });
});

const adapter = (k: number, options = {}) => {
  const empty = Adapter.create(engine, options);
  return empty.withVector(empty.v.map((_, i) => 0.5 * Math.cos(i + 7 * k)));
};
const text = async (slot: number, maxCompletionLength = 12, signal?: AbortSignal) => {
  const [completion] = await engine.generate("one", { adapter: slot, maxCompletionLength, stopTokens: [], signal });
  return completion!.text;
};
/** What each adapter says alone. */
async function textsAlone(adapters: readonly Adapter[]): Promise<string[]> {
  const texts: string[] = [];
  for (const one of adapters) {
    await engine.attach(one);
    texts.push(await text(0));
  }
  return texts;
}
/** A promise to settle later. */
function later(): { promise: Promise<void>; resolve: () => void } {
  let resolve = () => {};
  const promise = new Promise<void>((done) => {
    resolve = done;
  });
  return { promise, resolve };
}

describe("replace", () => {
  it("puts an adapter into one slot while another is sampled, with the bits that it has alone", async () => {
    const [first, second, third] = await textsAlone([adapter(1), adapter(2), adapter(3)]);
    expect(new Set([first, second, third]).size).toBe(3);
    await engine.attach([adapter(1), adapter(2)]);
    const long = text(0, 200);
    await engine.replace(1, adapter(3));
    expect(await text(1)).toBe(third);
    expect((await long).startsWith(first!)).toBe(true);
    await engine.replace(0, adapter(2));
    expect(await text(0)).toBe(second);
  });

  it("refuses a slot that is in use, and takes it once that was cancelled", async () => {
    await engine.attach([adapter(1), adapter(2)]);
    const controller = new AbortController();
    const sampling = text(1, 2000, controller.signal).catch(() => "cancelled");
    await text(0);
    await expect(engine.replace(1, adapter(3))).rejects.toMatchObject({
      code: "ERR_ARGUMENT",
      message: "replace: expected no unfinished requests of slot 1",
    });
    await expect(engine.attach([adapter(3), adapter(4)])).rejects.toMatchObject({
      code: "ERR_ARGUMENT",
      message: "attach: expected no unfinished requests",
    });
    controller.abort();
    expect(await sampling).toBe("cancelled");
    await engine.replace(1, adapter(3));
  });

  it("waits for calls of logprobs, which use the same adapter throughout", async () => {
    const sequences = Array.from({ length: 160 }, (_, i) => new Int32Array(128).fill(i % 250));
    await engine.attach(adapter(1));
    const alone = await engine.logprobs(sequences);
    const scoring = engine.logprobs(sequences);
    const replaced = engine.replace(0, adapter(2));
    expect(await scoring).toEqual(alone);
    await replaced;
    expect(await engine.logprobs(sequences.slice(0, 1))).not.toEqual(alone.slice(0, 1));
    const aborted = AbortSignal.abort(new Error("enough"));
    await expect(engine.replace(0, adapter(1), { signal: aborted })).rejects.toThrow("enough");
  });

  it("refuses what is no adapter, no slot, or differs in more than v", async () => {
    await engine.attach([adapter(1), adapter(2)]);
    const inMore = "replace: expected an adapter that differs from the one in slot 1 in v only";
    await expect(engine.replace(1, adapter(1, { r: 1 }))).rejects.toThrow(
      `${inMore}, found r 1, not 2: it takes an engine of its own`,
    );
    const otherProjection = adapter(1, { projection: { seed: 1, distribution: "normal" } });
    await expect(engine.replace(1, otherProjection)).rejects.toThrow(
      `${inMore}, found projection seed 1, not 0: one call of attach takes adapters of several projections`,
    );
    await expect(engine.replace(1, adapter(1, { r: 1, projection: otherProjection.spec.projection }))).rejects.toThrow(
      `${inMore}, found r 1, not 2, projection seed 1, not 0: it takes an engine of its own`,
    );
    await engine.attach([adapter(1), otherProjection]);
    await expect(engine.attach([adapter(1), adapter(2, { ...otherProjection.spec, r: 1, u: 2 })])).rejects.toThrow(
      "must differ in v and projection only, found r 1, not 2, u 2, not 13: it takes an engine of its own",
    );
    await expect(engine.replace(2, adapter(1))).rejects.toThrow("adapter slot: expected 0 to 1, found 2");
    const misused = engine.replace(1, "tl1-abc" as unknown as Adapter);
    await expect(misused).rejects.toThrow('replace: expected what Adapter.load gives, found "tl1-abc"');
  });

  it("is refused while a trainer runs", async () => {
    const problems = Array.from({ length: 2 }, (_, i) => ({ id: `${i}`, question: `${i}`, answer: "7", row: {} }));
    const trainer = new GrpoTrainer({
      engine,
      adapter: Adapter.create(engine),
      data: { name: "own", train: problems, test: [] },
      rewards: { length: (completion) => completion.length },
      config: { num_prompts: 2, num_generations: 2, max_completion_length: 4, max_steps: 1, eval_steps: 0, shots: 0 },
    });
    const refusals: unknown[] = [];
    await trainer.train({ onStep: () => engine.replace(0, adapter(1)).catch((error) => void refusals.push(error)) });
    expect(refusals).toEqual([
      expect.objectContaining({ code: "ERR_STATE", message: expect.stringMatching(/^replace/) }),
    ]);
  });
});

it("adapters with trained A and B are not attached side by side: each has a basis of its own", async () => {
  const [one, other] = [Adapter.create(engine, { kind: "lora" }), Adapter.create(engine, { kind: "lora" })];
  await expect(engine.attach([one, other])).rejects.toThrow(
    "must differ in v and projection only, found another A and B: it takes an engine of its own",
  );
  // As PEFT saves them: A and B are of the model, P is of the seed.
  const saved = (seed: number) => {
    const spec = { projection: { seed, distribution: "normal" } } as const;
    return Adapter.create(engine, spec).withMatrices(one.matrices!);
  };
  await expect(engine.attach([saved(1), saved(2)])).rejects.toThrow(
    "must differ in v and projection only, found projection seed 2, not 1: it takes an engine of its own",
  );
});

describe("a pool of adapters", () => {
  it("answers for many adapters from few slots as each does alone", async () => {
    const adapters = Array.from({ length: 12 }, (_, k) => adapter(k));
    const alone = await textsAlone(adapters);
    const pool = await AdapterPool.open(engine, 3);
    const asked = Array.from({ length: 60 }, (_, i) => (i * 5) % 12);
    expect(await Promise.all(asked.map((k) => pool.use(adapters[k]!, (slot) => text(slot))))).toEqual(
      asked.map((k) => alone[k]),
    );
  });

  it("gives up the adapter that has been out of use for longest", async () => {
    const pool = await AdapterPool.open(engine, 2);
    const slotOf = (k: number) => pool.use(adapter(k), async (slot) => slot);
    const [first, second] = [await slotOf(1), await slotOf(2)];
    expect(await slotOf(1)).toBe(first);
    expect(await slotOf(3)).toBe(second);
    expect(await slotOf(1)).toBe(first);
    expect(await slotOf(2)).toBe(second);
  });

  it("waits for a slot until the signal comes, and gives slots back when the work fails", async () => {
    const pool = await AdapterPool.open(engine, 1);
    const work = later();
    const holder = pool.use(adapter(1), () => work.promise);
    const controller = new AbortController();
    const impatient = pool.use(adapter(2), async () => "made", { signal: controller.signal });
    const patient = pool.use(adapter(3), () => Promise.reject(new Error("work")));
    controller.abort(new Error("enough"));
    await expect(impatient).rejects.toThrow("enough");
    expect(await pool.use(adapter(1), async () => "beside the holder")).toBe("beside the holder");
    work.resolve();
    await holder;
    await expect(patient).rejects.toThrow("work");
    expect(await pool.use(adapter(4), async () => "made")).toBe("made");
  });

  it("refuses the string of an adapter, also of one that is in a slot", async () => {
    const pool = await AdapterPool.open(engine, 1);
    await pool.use(adapter(0), text);
    const string: unknown = `${adapter(0)}`;
    await expect(pool.use(string as Adapter, text)).rejects.toThrow(
      /^use: expected what Adapter\.load gives, found "tl1-/,
    );
  });

  it("refuses adapters of another shape and keeps the slot", async () => {
    const pool = await AdapterPool.open(engine, 1, adapter(0, { u: 2 }));
    for (let i = 0; i < 3; i++) {
      await expect(pool.use(adapter(1), (slot) => text(slot))).rejects.toThrow("in v only");
    }
    expect(await pool.use(adapter(1, { u: 2 }), (slot) => text(slot))).not.toBe("");
    const lora = AdapterPool.open(engine, 1, Adapter.create(engine, { kind: "lora" }));
    await expect(lora).rejects.toThrow("adapters of kind lora differ in A and B: none shares its basis");
    await expect(AdapterPool.open(engine, 0)).rejects.toThrow(
      "slots: expected a whole number from 1 to 65536, found 0",
    );
  });
});
