import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { EngineSpec, ForwardBatch, NativeEngine, UpdateOptions } from "../../lib/native/addon.js";
import { loadAddon } from "../../lib/native/load.js";
import { prompt, quiet, randomBasis, request } from "./sampling.js";
import { writeTinyModel } from "./tiny-model.js";

const addon = loadAddon();
const model = writeTinyModel();
let engine: NativeEngine;

beforeAll(async () => {
  engine = await addon.loadEngine(model.spec({ cacheTokens: 64 }), quiet);
});
afterAll(() => {
  engine.dispose();
  model.remove();
});

const argumentError = (message: string) => expect.objectContaining({ code: "ERR_ARGUMENT", message });
const broken = (value: object, changes: object) => ({ ...value, ...changes }) as never;

describe("loadEngine", () => {
  it.each<[string, object | undefined, string]>([
    ["spec", undefined, "Expected an object for spec but received undefined"],
    ["threads", { threads: 0 }, "Expected a whole number from 1 to 1024 for spec.threads but received 0"],
    ["threads", { threads: 1.5 }, "Expected a whole number from 1 to 1024 for spec.threads but received 1.5"],
    ["threads", { threads: "2" }, 'Expected a whole number from 1 to 1024 for spec.threads but received "2"'],
    ["dtype", { dtype: "fp64" }, 'Expected "fp32", "bf16" or "fp16" for spec.dtype but received "fp64"'],
    ["dtype", { dtype: "fp16" }, 'dtype: expected "fp32" or "bf16" on the cpu, found "fp16"'],
    [
      "device",
      { device: "gpu" },
      'Expected "cpu", "cuda", "cuda:N", "cudasim" or "reference" for spec.device but received "gpu"',
    ],
    [
      "device of many characters",
      { device: `x${"\u00e9".repeat(40)}` },
      `Expected "cpu", "cuda", "cuda:N", "cudasim" or "reference" for spec.device but received "x${"\u00e9".repeat(29)}..."`,
    ],
    ["driver", { device: "cudasim" }, "Expected a string for spec.driver but received undefined"],
    ["path", { path: null }, "Expected a string for spec.path but received null"],
    ["tensors", { tensors: {} }, "Expected an array for spec.tensors but received an object"],
  ])("refuses a bad %s", async (_, changes, message) => {
    const spec = changes === undefined ? (undefined as never) : broken(model.spec(), changes);
    await expect(addon.loadEngine(spec, quiet)).rejects.toEqual(argumentError(message));
  });

  it("names the tensor and the key of a bad source", async () => {
    const tensors = model.tensors.map((tensor, i) => (i === 3 ? { ...tensor, offset: -1 } : tensor));
    const message = `Expected a whole number from 0 to ${Number.MAX_SAFE_INTEGER} for spec.tensors[3].offset but received -1`;
    await expect(addon.loadEngine(model.spec({ tensors }), quiet)).rejects.toEqual(argumentError(message));
  });

  it("refuses files that are missing, short or of another model", async () => {
    const load = (changes: Partial<EngineSpec>) => addon.loadEngine(model.spec(changes), quiet);
    const moved = model.tensors.map((tensor) => ({ ...tensor, file: `${tensor.file}.none` }));
    await expect(load({ tensors: moved })).rejects.toMatchObject({ code: "ERR_FILE" });
    const beyond = model.tensors.map((tensor) => ({ ...tensor, offset: tensor.offset + 4 }));
    await expect(load({ tensors: beyond })).rejects.toMatchObject({
      code: expect.stringMatching(/^ERR_(FILE|MODEL)$/),
    });
    await expect(load({ tensors: model.tensors.slice(1) })).rejects.toMatchObject({ code: "ERR_MODEL" });
    await expect(load({ tensors: [] })).rejects.toMatchObject({ code: "ERR_MODEL" });
  });

  it("refuses token bytes that do not fit together", async () => {
    const tokenBytes = { bytes: new Uint8Array(4), offsets: Uint32Array.from([0, 9]) };
    await expect(addon.loadEngine(model.spec({ tokenBytes }), quiet)).rejects.toMatchObject({ code: "ERR_ARGUMENT" });
  });

  it("refuses a callback that is none", async () => {
    await expect(addon.loadEngine(model.spec(), undefined as never)).rejects.toEqual(
      argumentError("Expected a function for onProgress but received undefined"),
    );
  });
});

describe("an engine", () => {
  const batch: ForwardBatch = {
    tokens: Int32Array.from([1, 2, 3, 4]),
    starts: Int32Array.from([0, 4]),
    parents: Int32Array.from([-1]),
    slots: Int32Array.from([-1]),
    scored: Uint8Array.from([1]),
    temperatures: Float32Array.from([1]),
    keep: false,
  };
  const update: UpdateOptions = {
    ...{ optim: "sgd", rate: 0.1, decay: 0, maxNorm: 1, momentum: 0 },
    ...{ beta1: 0.9, beta2: 0.999, epsilon: 1e-8, updates: 1 },
  };

  it("cannot be made but by loadEngine", () => {
    const Class = engine.constructor as new () => unknown;
    expect(() => new Class()).toThrow("an engine is made by loadEngine only");
    expect(() => engine.memory.call({} as never)).toThrow();
  });

  it.each<[string, object, string | RegExp]>([
    ["an empty prompt", { prompt: new Int32Array(0) }, /prompt: expected at least one token/],
    ["an id that is no token", { prompt: Int32Array.from([259]) }, /prompt: expected ids from 0 to 258, found 259/],
    ["a negative id", { prompt: Int32Array.from([-1]) }, /prompt: expected ids from 0 to 258, found -1/],
    ["another kind of array", { prompt: [1, 2] }, "Expected an Int32Array for request.prompt but received an array"],
    [
      "floats",
      { prompt: new Float32Array(2) },
      "Expected an Int32Array for request.prompt but received a Float32Array",
    ],
    [
      "a prompt that fills the context",
      { prompt: prompt(320) },
      /expected fewer tokens than the context length \(320\)/,
    ],
    [
      "more than the cache holds",
      { prompt: prompt(60) },
      /tokens: expected at most 65, the 64 positions of the cache \(cache_tokens\) and the last token/,
    ],
    ["a slot without basis", { slot: 0 }, /slot: expected -1, the base model, since no adapter is attached, found 0/],
    ["no completions", { numGenerations: 0 }, /for request.numGenerations but received 0/],
    ["no tokens", { maxCompletionLength: 0 }, /for request.maxCompletionLength but received 0/],
    ["a NaN", { temperature: Number.NaN }, "Expected a number for request.temperature but received NaN"],
    ...[-1, 1e-40, 1e-60, 1e31, Number.POSITIVE_INFINITY].map((temperature): [string, object, string] => [
      `temperature ${temperature}`,
      { temperature },
      `Expected 0, or 1e-30 to 1e30 for request.temperature but received ${temperature}`,
    ]),
    ["top_p 0", { topP: 0 }, /top_p: expected more than 0/],
    ["min_p above 1", { minP: 1.5 }, /min_p: expected 0 to 1/],
    ["an unsafe seed", { seed: 2 ** 53 }, /for request.seed but received 9007199254740992/],
    ["a stop token that is none", { stopTokens: Int32Array.from([300]) }, /stop_tokens: expected ids from 0 to 258/],
    ["an empty stop string", { stopStrings: [""] }, /stop_strings: expected none that is empty/],
    ["a stop string that is none", { stopStrings: [7] }, "Expected a string for request.stopStrings[0] but received 7"],
  ])("refuses a request with %s", (_, changes, message) => {
    const submit = () => engine.submit(broken(request({ maxCompletionLength: 8 }), changes), quiet);
    expect(submit).toThrow(message);
    expect(submit).toThrow(expect.objectContaining({ code: "ERR_ARGUMENT" }));
  });

  it("refuses what disposes of it while its arguments are read", async () => {
    const calls: [object, (engine: NativeEngine, last: never) => unknown][] = [
      [request(), (other, last) => other.submit(last, quiet)],
      [batch, (other, last) => other.forward(last)],
      [{ rank: 2, modules: [0] }, (other, last) => other.computeSvd(last, quiet)],
      [randomBasis(engine, 1), (other, last) => other.setBasis(last)],
      [update, (other, last) => other.updateParameters(last)],
      [["model.norm.weight"], (other, last) => other.trainWeights(last)],
    ];
    for (const [argument, call] of calls) {
      const other = await addon.loadEngine(model.spec({ threads: 1, cacheTokens: 64 }), quiet);
      const [key, value] = Object.entries(argument).at(-1)!;
      const get = () => {
        other.dispose();
        return value;
      };
      const hostile = Object.defineProperty(structuredClone(argument), key, { get });
      await expect((async () => call(other, hostile as never))()).rejects.toMatchObject({ code: "ERR_DISPOSED" });
    }
  });

  it("refuses a second unfinished request of one id", async () => {
    await new Promise<void>((resolve) => {
      engine.submit(request({ id: 7 }), () => resolve());
      expect(() => engine.submit(request({ id: 7 }), quiet)).toThrow(/an id that no unfinished request has/);
    });
  });

  it.each<[string, object]>([
    ["tokens that are none", { tokens: Int32Array.from([1, 2, 3, 999]) }],
    ["starts that run back", { starts: Int32Array.from([4, 0]) }],
    ["starts beyond the tokens", { starts: Int32Array.from([0, 5]) }],
    ["no sequence", { starts: Int32Array.from([0]), parents: new Int32Array(0) }],
    ["a parent after its child", { parents: Int32Array.from([0]) }],
    ["a slot without basis", { slots: Int32Array.from([0]) }],
    ["temperature 0", { temperatures: Float32Array.from([0]) }],
    ["a NaN temperature", { temperatures: Float32Array.from([Number.NaN]) }],
    ["arrays of another length", { scored: new Uint8Array(2) }],
    ["scored of another kind", { scored: new Int8Array(1) }],
    ["keep of another kind", { keep: 1 }],
  ])("refuses a batch with %s", async (_, changes) => {
    await expect(engine.forward(broken(batch, changes))).rejects.toMatchObject({ code: "ERR_ARGUMENT" });
  });

  it("refuses a backward pass that does not follow a kept forward pass", async () => {
    await expect(engine.backward(new Float32Array(4))).rejects.toMatchObject({ code: "ERR_ARGUMENT" });
    await engine.forward({ ...batch, keep: true });
    await expect(engine.backward(new Float32Array(3))).rejects.toMatchObject({ code: "ERR_ARGUMENT" });
    await expect(engine.backward([0, 0, 0, 0] as never)).rejects.toMatchObject({ code: "ERR_ARGUMENT" });
  });

  it("refuses a basis that does not fit, and keeps the old one", () => {
    const basis = randomBasis(engine, 1);
    engine.setBasis(basis);
    const first = basis.modules[0]!;
    const cases = [
      { ...basis, rank: 17 },
      { ...basis, groups: 0 },
      { ...basis, modules: [{ ...first, module: 99 }] },
      { ...basis, modules: [{ ...first, a: new Float32Array(3) }] },
      { ...basis, modules: [{ ...first, p: first.p.map(() => Number.NaN) }] },
      { ...basis, modules: [first, first] },
    ];
    for (const bad of cases) {
      expect(() => engine.setBasis(bad)).toThrow(
        expect.objectContaining({ code: expect.stringMatching(/^ERR_(ADAPTER|ARGUMENT)$/) }),
      );
    }
    expect(engine.setVector(0, new Float32Array(2))).toBe(1);
    expect(() => engine.setVector(0, new Float32Array(3))).toThrow(expect.objectContaining({ code: "ERR_ADAPTER" }));
    expect(() => engine.setVector(0, Float32Array.from([0, Number.NaN]))).toThrow("expected finite numbers");
    expect(() => engine.setVector(1, new Float32Array(2))).toThrow("expected 0 to 0, found 1");
    expect(() => engine.gradient(1)).toThrow("expected 0 to 0, found 1");
    expect([...engine.gradient(0)]).toEqual([0, 0]);
  });

  it("refuses an SVD of modules or ranks that are none", async () => {
    for (const spec of [
      { rank: 0, modules: [0] },
      { rank: 2, modules: [14] },
      { rank: 2, modules: [-1] },
    ]) {
      await expect(engine.computeSvd(spec, quiet)).rejects.toMatchObject({ code: "ERR_ARGUMENT" });
    }
  });
});

describe("projection", () => {
  const spec = { seed: 1, module: 0, u: 4, rank: 2, distribution: "normal" } as const;
  it.each<object>([
    { u: 0 },
    { rank: 17 },
    { seed: -1 },
    { module: 2 ** 32 },
    { distribution: "cauchy" },
    { distribution: "unit", u: 3 },
  ])("refuses %o", (changes) => {
    expect(() => addon.projection(broken(spec, changes))).toThrow(expect.objectContaining({ code: "ERR_ARGUMENT" }));
  });
});
