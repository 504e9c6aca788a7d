/** What the addon says of a value that it does not take: the range of every number, the names, the kind of what it got. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { NativeEngine, UpdateOptions } from "../../lib/native/addon.js";
import { loadAddon } from "../../lib/native/load.js";
import { quiet, randomBasis, request } from "./sampling.js";
import { writeTinyModel } from "./tiny-model.js";

const addon = loadAddon();
const model = writeTinyModel();
let engine: NativeEngine;

beforeAll(async () => {
  engine = await addon.loadEngine(model.spec({ threads: 1, cacheTokens: 64 }), quiet);
});
afterAll(() => {
  engine.dispose();
  model.remove();
});

const safe = Number.MAX_SAFE_INTEGER;
const int = 2 ** 31 - 1;

const load = (changes: object) => addon.loadEngine({ ...model.spec(), ...changes }, quiet);
const loadConfig = (changes: object) => load({ config: { ...model.config, ...changes } });
const loadTensor = (changes: object) => load({ tensors: [{ ...model.tensors[0]!, ...changes }] });
const ropeScaling = { type: "yarn", factor: 2, originalContext: 64, betaFast: 32, betaSlow: 1, truncate: true };
const loadRope = (changes: object) => loadConfig({ ropeScaling: { ...ropeScaling, attentionFactor: 1, ...changes } });
const submit = (changes: object) => engine.submit(request(changes), quiet);
const setBasis = (changes: object) => engine.setBasis({ ...randomBasis(engine, 1), ...changes });
const setModule = (changes: object) => setBasis({ modules: [{ ...randomBasis(engine, 1).modules[0]!, ...changes }] });
const svd = (changes: object) => engine.computeSvd({ rank: 1, modules: [0], ...changes }, quiet);
const projection = (changes: object) =>
  addon.projection({ seed: 1, module: 0, u: 4, rank: 2, distribution: "normal", ...changes });
const update = (changes: object) =>
  engine.updateParameters({
    ...({ optim: "sgd", rate: 0.1, decay: 0, maxNorm: 1, momentum: 0 } as const),
    ...{ beta1: 0.9, beta2: 0.999, epsilon: 1e-8, updates: 1 },
    ...changes,
  } as UpdateOptions);
const product = (changes: object) =>
  addon.benchProduct(
    {
      ...({ device: "cpu", path: addon.machine().paths[0]!, threads: 1, direction: "forward", dtype: "fp32" } as const),
      ...{ out: 8, in: 8, rows: 1, rank: 0, seconds: 0, footprint: 0 },
      ...changes,
    },
    quiet,
  );

/** The message of what the call throws, or its promise is rejected with. */
async function refusal(call: () => unknown): Promise<string> {
  try {
    await call();
  } catch (error) {
    expect(error).toMatchObject({ code: "ERR_ARGUMENT" });
    return (error as Error).message;
  }
  throw new Error("expected a refusal");
}

type Call = (changes: object) => unknown;

it.each<[string, string, Call, number, number]>([
  ...["vocab", "hidden", "intermediate"].map((key) => ["spec.config", key, loadConfig, 1, 2 ** 28] as never),
  ...["layers", "heads", "kvHeads", "headDim"].map((key) => ["spec.config", key, loadConfig, 1, 2 ** 16] as never),
  ["spec.config", "context", loadConfig, 1, int],
  ["spec.config.ropeScaling", "originalContext", loadRope, 1, int],
  ["spec.tensors[0]", "offset", loadTensor, 0, safe],
  ["spec.tensors[0]", "bytes", loadTensor, 0, safe],
  ["spec.tensors[0]", "permutedHeads", loadTensor, 1, 2 ** 16],
  ["spec", "threads", load, 1, 1024],
  ["spec", "maxSequences", load, 1, 2 ** 16],
  ["spec", "cacheTokens", load, 32, 2 ** 28],
  ["request", "id", submit, -safe, safe],
  ["request", "slot", submit, -1, int],
  ...["numGenerations", "maxCompletionLength"].map((key) => ["request", key, submit, 1, int] as never),
  ["request", "topK", submit, 0, int],
  ...["seed", "firstSequence"].map((key) => ["request", key, submit, 0, safe] as never),
  ["basis", "rank", setBasis, 1, 16],
  ["basis", "u", setBasis, 1, 2 ** 16],
  ["basis", "groups", setBasis, 1, 2 ** 20],
  ["basis", "slots", setBasis, 1, 2 ** 16],
  ...["module", "group"].map((key) => ["basis.modules[0]", key, setModule, 0, int] as never),
  ["spec", "rank", svd, 1, 16],
  ["options", "updates", update, 1, safe],
  ["spec", "seed", projection, 0, safe],
  ["spec", "module", projection, 0, 2 ** 32 - 1],
  ["spec", "u", projection, 1, 2 ** 16],
  ["spec", "rank", projection, 1, 16],
  ...["out", "in", "rows"].map((key) => ["spec", key, product, 1, 2 ** 24] as never),
  ["spec", "rank", product, 0, 16],
  ["spec", "threads", product, 1, 1024],
  ["spec", "footprint", product, 0, safe],
])("%s.%s: tells the range", async (object, key, call, least, most) => {
  const expected = `Expected a whole number from ${least} to ${most} for ${object}.${key} but received `;
  for (const bad of [least - 1, most + 1, 3.5, Number.POSITIVE_INFINITY])
    expect(await refusal(() => call({ [key]: bad }))).toBe(`${expected}${bad}`);
});

it.each<[string, (slot: number) => unknown, number, number]>([
  ["slot", (slot) => engine.setVector(slot, new Float32Array(2)), 0, 2 ** 16],
  ["slot", (slot) => engine.changeVector(slot, new Float32Array(2)), 0, 2 ** 16],
  ["first", (first) => engine.setVectors(first, new Float32Array(2)), 0, 2 ** 16],
  ["slot", (slot) => engine.gradient(slot), 0, 2 ** 16],
  ["slot", (slot) => engine.version(slot), -1, 2 ** 16],
  ["tensor", (tensor) => engine.readParameter(tensor, "master"), 0, 2 ** 20],
  ["tensor", (tensor) => engine.writeParameter(tensor, "master", new Float32Array(2)), 0, 2 ** 20],
  ["id", (id) => engine.cancel(id), -safe, safe],
  ["spec.modules[0]", (module) => svd({ modules: [module] }), 0, 13],
  ["spec.tensors[0].shape[1]", (size) => loadTensor({ shape: [1, size] }), 0, safe],
])("%s: tells the range of an argument", async (name, call, least, most) => {
  const expected = `Expected a whole number from ${least} to ${most} for ${name} but received `;
  for (const bad of [least - 1, most + 1]) expect(await refusal(() => call(bad))).toBe(`${expected}${bad}`);
});

it.each<[string, () => unknown, string]>([
  ["spec.path", () => load({ path: "sse" }), '"amx", "avx512-bf16", "avx512", "avx2", "neon-bf16" or "neon"'],
  ["spec.config.ropeScaling.type", () => loadRope({ type: "sse" }), '"linear", "llama3" or "yarn"'],
  ["part", () => engine.readParameter(0, "sse" as never), '"master", "gradient", "first" or "second"'],
  ["options.optim", () => update({ optim: "sse" }), '"adamw" or "sgd"'],
  ["spec.distribution", () => projection({ distribution: "sse" }), '"normal", "uniform", "orthogonal" or "unit"'],
  ["spec.direction", () => product({ direction: "sse" }), '"forward" or "backward"'],
])("%s: tells the names", async (name, call, names) => {
  expect(await refusal(call)).toBe(`Expected ${names} for ${name} but received "sse"`);
});

it.each(["cuda:", "cuda:x", "cuda:1x", "cuda:-1", "cuda:99999999999", "cuda1"])(
  "device: refuses %s",
  async (device) => {
    const names = '"cpu", "cuda", "cuda:N", "cudasim" or "reference"';
    expect(await refusal(() => load({ device }))).toBe(`Expected ${names} for spec.device but received "${device}"`);
  },
);

it("measures nothing on the reference, nor for a time that is none", async () => {
  const names = '"cpu", "cuda", "cuda:N" or "cudasim"';
  expect(await refusal(() => product({ device: "reference" }))).toContain(`Expected ${names} for spec.device`);
  for (const seconds of [-1, 3601])
    expect(await refusal(() => product({ seconds }))).toBe(
      `Expected a number from 0 to 3600 for spec.seconds but received ${seconds}`,
    );
});

describe("numbers of rope scaling", () => {
  const keys = { linear: ["factor"], llama3: ["lowFreqFactor", "highFreqFactor"], yarn: ["betaFast", "betaSlow"] };
  it.each([...Object.entries(keys), ["yarn", ["factor", "attentionFactor"]] as const])("%s %s", async (type, names) => {
    for (const key of names) {
      const changes = { type, lowFreqFactor: 1, highFreqFactor: 4, [key]: "2" };
      expect(await refusal(() => loadRope(changes))).toBe(
        `Expected a number for spec.config.ropeScaling.${key} but received "2"`,
      );
    }
  });
});

it("counts the elements of a list", async () => {
  const expected = (most: number, name: string) =>
    `Expected at most ${most} elements for ${name} but received ${most + 1}`;
  const list = <T>(count: number, value: T) => Array.from({ length: count }, () => value);
  expect(await refusal(() => loadTensor({ shape: list(9, 1) }))).toBe(expected(8, "spec.tensors[0].shape"));
  expect(await refusal(() => submit({ stopStrings: list(1025, "a") }))).toBe(expected(1024, "request.stopStrings"));
  expect(await refusal(() => svd({ modules: list(15, 0) }))).toBe(expected(14, "spec.modules"));
});

it.each<[unknown, string]>([
  [undefined, "undefined"],
  [null, "null"],
  [true, "true"],
  [false, "false"],
  [1.5, "1.5"],
  ["a".repeat(60), `"${"a".repeat(60)}"`],
  ["a".repeat(61), `"${"a".repeat(60)}..."`],
  [Symbol("a"), "a symbol"],
  [quiet, "a function"],
  [1n, "a BigInt"],
  [[1], "an array"],
  [{}, "an object"],
  ...[Int8Array, Int16Array, Float32Array, Float64Array, BigInt64Array].map(
    (Kind) => [new Kind(1), `${/^[AEIOU]/.test(Kind.name) ? "an" : "a"} ${Kind.name}`] as [unknown, string],
  ),
  ...[Uint8Array, Uint8ClampedArray, Uint16Array, Uint32Array, BigUint64Array].map(
    (Kind) => [new Kind(1), `a ${Kind.name}`] as [unknown, string],
  ),
])("calls %o by its kind", async (value, shown) => {
  expect(await refusal(() => submit({ prompt: value }))).toBe(
    `Expected an Int32Array for request.prompt but received ${shown}`,
  );
});
