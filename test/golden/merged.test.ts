// A merged model gives what the adapter gives over its base: every kind, both dtypes; and the rounding error told is true.
import { cp, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { FullWeights, trainableNames } from "../../lib/adapter/full-weights.js";
import { encodeSafetensors, floatTensor } from "../../lib/adapter/safetensors.js";
import { randomUniform } from "../../lib/philox.js";
import { Engine } from "../../lib/engine.js";
import { plainLora } from "../../lib/export/lora.js";
import { writeMerged } from "../../lib/export/merged.js";
import { type Model, openModel } from "../../lib/model/open.js";
import type { Dtype } from "../../lib/native/addon.js";
import { readTensor } from "../../lib/native/session.js";
import { golden } from "./fixtures.js";
import { KIND_NAMES, randomAdapter } from "./random-adapter.js";

const MODELS = ["llama-tied", "qwen2", "qwen3", "llama3-8k.gguf", "qwen3.gguf"];
const tokens = Int32Array.from({ length: 32 }, (_, i) => 2 + Math.floor(288 * randomUniform(4, "init", 0, i)));

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "tinylora-merged-"));
});
afterAll(() => rm(folder, { recursive: true }));

const load = (path: string, dtype: Dtype) => Engine.load(path, { dtype, threads: 1 });
async function score(engine: Engine, adapter: number | "base"): Promise<number[]> {
  const [scored] = await engine.logprobs([tokens], { adapter });
  return [...scored!.logprobs.subarray(1)];
}
const distance = (one: readonly number[], other: readonly number[]) =>
  Math.max(...one.map((value, i) => Math.abs(value - other[i]!)));

const weight = ({ tensors }: Model, name: string) => readTensor(tensors.find((tensor) => tensor.name === name)!);

/** A copy of a tied model whose file holds the embedding once more, as the head. */
async function withHead(name: string): Promise<string> {
  const path = join(folder, `${name}-head`);
  await cp(golden(`models/${name}`), path, { recursive: true });
  const { tensors } = await openModel(path);
  const embedding = tensors.find(({ name }) => name === "model.embed_tokens.weight")!;
  const numbers = [...tensors, { ...embedding, name: "lm_head.weight" }].map(async (source) => {
    return [source.name, floatTensor(await readTensor(source), source.shape)] as const;
  });
  await writeFile(join(path, "model.safetensors"), encodeSafetensors(new Map(await Promise.all(numbers))));
  return path;
}

it("merging tells how far it is, and leaves nothing where it is aborted", async () => {
  await using engine = await load(golden("models/qwen2-tied"), "fp32");
  const adapter = randomAdapter(engine, "tinylora", 0.5);
  await engine.attach(adapter);
  const lora = plainLora(engine.basis(), adapter.v);
  const aborted = new AbortController();
  const told: string[] = [];
  const onProgress = (done: number, total: number) => {
    told.push(`${done}/${total}`);
    if (done === 2) aborted.abort();
  };
  const within = await mkdtemp(join(folder, "aborted-"));
  const merging = writeMerged(join(within, "merged"), engine.model, lora, "fp32", {
    signal: aborted.signal,
    onProgress,
  });
  await expect(merging).rejects.toThrow("aborted");
  const total = trainableNames(engine.model).length;
  expect(told).toEqual([`0/${total}`, `1/${total}`, `2/${total}`]);
  expect(await readdir(within)).toEqual([]);

  told.length = 0;
  await writeMerged(join(within, "merged"), engine.model, lora, "fp32", {
    onProgress: (done, all) => void told.push(`${done}/${all}`),
  });
  expect(told.at(-1)).toBe(`${total}/${total}`);
});

it("a tied head's copy of the embedding is not written", async () => {
  const source = await withHead("qwen2-tied");
  const model = await openModel(source);
  expect(model.tensors.map(({ name }) => name)).toContain("lm_head.weight");
  await using engine = await load(source, "fp32");
  const path = join(folder, "head-saved");
  await FullWeights.of(engine).save(path);
  const names = (await openModel(path)).tensors.map(({ name }) => name);
  expect(names.toSorted()).toEqual(trainableNames(model).toSorted());
});

it.each([
  [{ dtype: "bfloat16" }, { dtype: "float32" }],
  [{ torch_dtype: "float16" }, { torch_dtype: "float32" }],
  [{ dtype: "float32" }, { dtype: "float32" }],
  [{}, { torch_dtype: "float32" }],
])("what fp32 is saved of a config.json with %j names %j", async (given, named) => {
  const source = await mkdtemp(join(folder, "dtype-"));
  await cp(golden("models/qwen2-tied"), source, { recursive: true });
  const types = async (path: string, change: object) => {
    const { dtype, torch_dtype, ...rest } = JSON.parse(await readFile(join(path, "config.json"), "utf8"));
    await writeFile(join(path, "config.json"), JSON.stringify({ ...rest, ...change }));
    return { ...(dtype && { dtype }), ...(torch_dtype && { torch_dtype }) };
  };
  await types(source, given);
  await using engine = await load(source, "fp32");
  await FullWeights.of(engine).save(join(source, "saved"));
  expect(await types(join(source, "saved"), {})).toEqual(named);
});

describe.each(MODELS)("%s", (model) => {
  // Scored in fp32 either way: in bf16 all that differs is the rounding of W', half of 2^-8 of a weight at most.
  it.each([
    ["fp32", 1e-4],
    ["bf16", 0.1],
  ] as const)("every kind of adapter, merged in %s", async (dtype, share) => {
    await using engine = await load(golden(`models/${model}`), "fp32");
    const base = await score(engine, "base");
    for (const kind of KIND_NAMES) {
      const adapter = randomAdapter(engine, kind, 0.5);
      await engine.attach(adapter);
      const on = await score(engine, 0);
      expect(distance(on, base), kind).toBeGreaterThan(0.5);

      const path = join(folder, `${model}-${kind}-${dtype}`);
      const lora = plainLora(engine.basis(), adapter.v);
      const errors = await writeMerged(path, engine.model, lora, dtype);
      await using merged = await load(path, "fp32");
      expect(distance(await score(merged, "base"), on) / distance(on, base), kind).toBeLessThan(share);

      // The error of one module, from the files alone.
      const [part, told] = [lora.modules.at(-1)!, errors.at(-1)!];
      expect(told.module).toBe(part.module.name);
      const [before, after] = [
        await weight(engine.model, `${told.module}.weight`),
        await weight(await openModel(path), `${told.module}.weight`),
      ];
      let [largest, error, whole, update] = [0, 0, 0, 0];
      for (const [at, value] of before.entries()) {
        const [row, column] = [Math.floor(at / part.module.in), at % part.module.in];
        let added = 0;
        for (let k = 0; k < lora.rank; k++) added += part.b[row * lora.rank + k]! * part.a[k * part.module.in + column]!;
        const off = after[at]! - (value + added);
        largest = Math.max(largest, Math.abs(off));
        error += off ** 2;
        whole += (value + added) ** 2;
        update += added ** 2;
      }
      expect(told.largest).toBeCloseTo(largest, 12);
      expect(told.relative).toBeCloseTo(Math.sqrt(error / whole), 9);
      expect(told.ofUpdate).toBeCloseTo(Math.sqrt(error / update), 6);
      const unit = dtype === "bf16" ? 2 ** -8 : 2 ** -24; // a weight is off by half of it at most
      for (const { module, relative } of errors) {
        expect(relative, module).toBeLessThan(unit / 2);
        expect(relative, module).toBeGreaterThan(unit / 4);
      }
    }
    expect((await readdir(folder)).filter((name) => name.startsWith("."))).toEqual([]);
  });

  it.each(["fp32", "bf16"] as const)("fully trained weights, saved in %s, have the same bits", async (dtype) => {
    await using engine = await load(golden(`models/${model}`), dtype);
    const base = await score(engine, "base");
    const names = trainableNames(engine.model);
    const trained = new Map(
      engine.weights.trainWeights(names).map(({ name, shape }, index) => {
        const values = engine.weights
          .readParameter(index, "master")
          .map((value, i) => value + 0.02 * (2 * randomUniform(6, "init", index, i) - 1));
        engine.weights.writeParameter(index, "master", values);
        return [name, { shape, values }];
      }),
    );
    const on = await score(engine, "base");
    expect(distance(on, base)).toBeGreaterThan(0.1);
    const path = join(folder, `${model}-full-${dtype}`);
    await FullWeights.of(engine).withWeights(trained).save(path);
    await using saved = await load(path, dtype);
    expect(await score(saved, "base")).toEqual(on);
  });
});
