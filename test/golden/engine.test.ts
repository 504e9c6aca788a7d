import { availableParallelism } from "node:os";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { openModel } from "../../lib/model/open.js";
import type { EngineSpec, ForwardBatch, NativeEngine } from "../../lib/native/addon.js";
import { loadAddon } from "../../lib/native/load.js";
import { devices } from "../cudasim/build.js";
import { type AdapterCase, floats, golden, noSmollm2, onSmollm2, readFixture, smollm2, type TinyModel } from "./fixtures.js";

const NAMES = ["llama3", "llama3-8k", "llama-tied", "qwen2", "qwen2-tied", "qwen3", "qwen3-yarn", "mistral", "llama3-8k.gguf", "qwen2.gguf", "qwen3.gguf", "qwen3-yarn.gguf"];

describe.each(devices)("$name in fp32", ({ on, leftOut }) => {
  describe.skipIf(leftOut).each(NAMES)("%s", (name) => {
    const expected = readFixture<TinyModel>(`models/${name.replace(".gguf", "")}.json`);
    let engine: NativeEngine;
    beforeAll(async () => {
      engine = await load(golden(`models/${name}`), on);
    });
    afterAll(() => engine?.dispose());

    it("log-probabilities are transformers' within 3e-4", async () => {
      const { logprobs } = await engine.forward(wholeSequences(expected.base.map(({ ids }) => ids)));
      const wanted = expected.base.flatMap((entry) => [...floats(entry.logprobs)]);
      expect(largestDifference(scoredOnly(logprobs), wanted)).toBeLessThan(3e-4);
    });
    it.each(expected.adapters.map((adapter) => [adapter.u, adapter] as const))(
      "u = %i: log-probabilities and gradients of v are PyTorch's",
      async (_, adapter) => {
        attach(engine, adapter);
        const { logprobs } = await engine.forward(adapterBatch(adapter));
        expect(largestDifference(scoredOnly(logprobs), adapter.logprobs)).toBeLessThan(3e-4);
        await engine.backward(spread(floats(adapter.coefficients), logprobs));
        for (const [slot, wanted] of adapter.gradients.entries()) {
          const scale = Math.max(...wanted.map(Math.abs));
          expect(largestDifference(engine.gradient(slot), wanted) / scale).toBeLessThan(1e-4);
        }
      },
    );
  });
});

describe("the fingerprint", () => {
  it.each(["llama3-8k", "qwen2", "qwen3", "qwen3-yarn"])("of %s is the same for both formats", async (name) => {
    const engines = [await load(golden(`models/${name}`)), await load(golden(`models/${name}.gguf`))];
    expect(engines[0]!.fingerprint).toBe(engines[1]!.fingerprint);
    for (const engine of engines) engine.dispose();
  });
});

describe.skipIf(noSmollm2)(onSmollm2("SmolLM2 from its GGUF file in fp32"), () => {
  const entries = readFixture<{ ids: number[]; logprobs: number[] }[]>("smollm2.json");

  it("log-probabilities are transformers' within 1e-3", async () => {
    const engine = await load(smollm2);
    const { logprobs } = await engine.forward(wholeSequences(entries.map(({ ids }) => ids)));
    engine.dispose();
    const difference = largestDifference(
      scoredOnly(logprobs),
      entries.flatMap((entry) => entry.logprobs),
    );
    expect(difference).toBeLessThan(1e-3);
  });
});

async function load(path: string, on: Pick<EngineSpec, "device" | "driver"> = { device: "cpu" }): Promise<NativeEngine> {
  const { config, tensors } = await openModel(path);
  const sizes = { threads: availableParallelism(), maxSequences: 4, cacheTokens: 512 };
  const spec = { config, tensors, dtype: "fp32", ...on, ...sizes } as const;
  return loadAddon().loadEngine(spec, () => {});
}

function attach(engine: NativeEngine, adapter: AdapterCase): void {
  const modules = adapter.modules.map(({ module, group, a, b, p }) => {
    return { module, group, a: floats(a), b: floats(b), p: floats(p) };
  });
  const groups = Math.max(...modules.map(({ group }) => group)) + 1;
  engine.setBasis({ rank: 2, u: adapter.u, groups, slots: adapter.v.length, modules });
  for (const [slot, v] of adapter.v.entries()) engine.setVector(slot, floats(v));
  engine.zeroGradients();
}

function wholeSequences(sequences: readonly number[][]): ForwardBatch {
  return batch(
    sequences.map((tokens) => ({ tokens, parent: -1, slot: -1, scored: 1, temperature: 1 })),
    false,
  );
}
function adapterBatch(adapter: AdapterCase): ForwardBatch {
  return batch(adapter.sequences, true);
}
function batch(sequences: AdapterCase["sequences"], keep: boolean): ForwardBatch {
  const starts = new Int32Array(sequences.length + 1);
  for (const [i, { tokens }] of sequences.entries()) starts[i + 1] = starts[i]! + tokens.length;
  return {
    tokens: Int32Array.from(sequences.flatMap(({ tokens }) => tokens)),
    starts,
    parents: Int32Array.from(sequences, ({ parent }) => parent),
    slots: Int32Array.from(sequences, ({ slot }) => slot),
    scored: Uint8Array.from(sequences, ({ scored }) => scored),
    temperatures: Float32Array.from(sequences, ({ temperature }) => temperature),
    keep,
  };
}

function scoredOnly(values: Float32Array): number[] {
  return [...values].filter((value) => !Number.isNaN(value));
}
/** Coefficients at the places of scored tokens, 0 elsewhere. */
function spread(coefficients: Float32Array, logprobs: Float32Array): Float32Array {
  let next = 0;
  return logprobs.map((value) => (Number.isNaN(value) ? 0 : coefficients[next++]!));
}

function largestDifference(found: ArrayLike<number>, wanted: ArrayLike<number>): number {
  expect(found.length).toBe(wanted.length);
  return Math.max(...Array.from(wanted, (value, i) => Math.abs(value - found[i]!)));
}
