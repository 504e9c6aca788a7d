import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Adapter } from "../../../lib/adapter/adapter.js";
import { linearModules, targetedModules } from "../../../lib/adapter/modules.js";
import { decodeSafetensors, encodeSafetensors, floatTensor, tensorFloats } from "../../../lib/adapter/safetensors.js";
import type { AdapterSpec } from "../../../lib/adapter/spec.js";
import { tieGroups } from "../../../lib/adapter/tying.js";
import { encodeVector, roundVector } from "../../../lib/adapter/vector-dtype.js";
import { randomUniform } from "../../../lib/data/philox.js";
import { writeGgufLora } from "../../../lib/export/gguf-lora.js";
import { importPeft } from "../../../lib/export/import-peft.js";
import { type AttachedBasis, bf16Error, plainLora } from "../../../lib/export/lora.js";
import { writePeftLora } from "../../../lib/export/peft-lora.js";
import { importPeftTinyLora, writePeftTinyLora } from "../../../lib/export/peft-tinylora.js";
import { readGgufHeader } from "../../../lib/model/gguf-header.js";
import { readSafetensors } from "../../../lib/model/safetensors.js";
import type { ModelConfig } from "../../../lib/native/addon.js";

const config: ModelConfig = {
  family: "llama",
  vocab: 20,
  hidden: 8,
  intermediate: 12,
  layers: 2,
  heads: 2,
  kvHeads: 1,
  headDim: 4,
  context: 64,
  rmsNormEpsilon: 1e-5,
  tiedEmbeddings: true,
  ropeTheta: 1e4,
};
const base = { fingerprint: "0123456789abcdef", modules: linearModules(config) };

/** An adapter and random A, B, P for it, as an engine would hold them. */
function make(options: Partial<AdapterSpec> = {}, seed = 1): { adapter: Adapter; attached: AttachedBasis } {
  const zero = Adapter.create(base, { r: 2, u: 3, ...options });
  const { r: rank, u } = zero.spec;
  let drawn = 0;
  const random = (count: number, scale = 1) =>
    Float32Array.from({ length: count }, () => scale * (2 * randomUniform(seed, "init", drawn++) - 1));
  const adapted = targetedModules(base.modules, zero.spec.targetModules);
  const groups = tieGroups(zero.spec.tying, adapted);
  const modules = adapted.map(({ index, in: inputs, out: outputs }, place) => ({
    module: index,
    group: groups.of[place]!,
    a: random(rank * inputs),
    b: random(outputs * rank, 0.01),
    p: random(u * rank * rank),
  }));
  return {
    adapter: zero.withVector(random(groups.count * u)),
    attached: { modules: base.modules, basis: { rank, u, groups: groups.count, slots: 1, modules } },
  };
}

/** Row-major product of [rows, inner] and [inner, columns]. */
function product(left: ArrayLike<number>, right: ArrayLike<number>, inner: number): number[] {
  const [rows, columns] = [left.length / inner, right.length / inner];
  return Array.from({ length: rows * columns }, (_, at) => {
    const [i, j] = [Math.floor(at / columns), at % columns];
    let sum = 0;
    for (let k = 0; k < inner; k++) sum += left[i * inner + k]! * right[k * columns + j]!;
    return sum;
  });
}

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "tinylora-export-"));
});
afterAll(() => rm(folder, { recursive: true }));

describe("plainLora", () => {
  it("is the same update, with both factors of like size", () => {
    const tyings = [
      { kind: "all" },
      { kind: "none" },
      { kind: "tiled", nTie: 4 },
      { kind: "structured", nTie: 2 },
    ] as const;
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 1000 }),
        fc.constantFrom(...tyings),
        fc.integer({ min: 1, max: 4 }),
        (seed, tying, rank) => {
          const { adapter, attached } = make({ tying, r: rank }, seed);
          const { u } = attached.basis;
          for (const [i, { a, b }] of plainLora(attached, adapter.v).modules.entries()) {
            const own = attached.basis.modules[i]!;
            const r = Array.from({ length: rank * rank }, (_, at) =>
              Array.from({ length: u }, (_, n) => adapter.v[own.group * u + n]! * own.p[n * rank * rank + at]!).reduce(
                (x, y) => x + y,
              ),
            );
            const expected = product(product(own.b, r, rank), own.a, rank);
            const size = Math.max(...expected.map(Math.abs));
            product(b, a, rank).forEach(
              (value, at) => void expect(Math.abs(value - expected[at]!)).toBeLessThan(1e-6 * size),
            );
            const ratio = Math.max(...a.map(Math.abs)) / Math.max(...b.map(Math.abs));
            expect(ratio).toBeGreaterThan(0.49);
            expect(ratio).toBeLessThan(2.01);
          }
        },
      ),
      { numRuns: 30 },
    );
  });

  it("of v = 0 is nothing", () => {
    const { adapter, attached } = make();
    const lora = plainLora(
      attached,
      adapter.v.map(() => 0),
    );
    for (const { b } of lora.modules) expect([...b].every((value) => value === 0)).toBe(true);
    expect(bf16Error(lora)).toBe(0);
  });

  it("tells what bf16 does to it", () => {
    const { adapter, attached } = make();
    const lora = plainLora(attached, adapter.v);
    const errors = lora.modules.map(({ a, b }) => {
      const whole = product(b, a, 2);
      const rounded = product(roundVector(b, "bf16"), roundVector(a, "bf16"), 2);
      const norm = (values: number[]) => Math.hypot(...values);
      return norm(whole.map((value, i) => value - rounded[i]!)) / norm(whole);
    });
    expect(bf16Error(lora)).toBeCloseTo(Math.max(...errors), 6);
    expect(bf16Error(lora)).toBeGreaterThan(1e-4);
  });
});

describe("files", () => {
  it("LoRA for PEFT: names, shapes and a scale of 1", async () => {
    const { adapter, attached } = make({ targetModules: ["q_proj", "down_proj"] });
    await writePeftLora(join(folder, "lora"), plainLora(attached, adapter.v), "the/model");
    const tensors = readSafetensors(join(folder, "lora", "adapter_model.safetensors"));
    expect(tensors).toHaveLength(8);
    expect(tensors[1]).toMatchObject({
      name: "base_model.model.model.layers.0.self_attn.q_proj.lora_B.weight",
      shape: [8, 2],
      type: "F32",
    });
    const written = JSON.parse(await readFile(join(folder, "lora", "adapter_config.json"), "utf8"));
    expect(written).toMatchObject({
      peft_type: "LORA",
      r: 2,
      lora_alpha: 2,
      target_modules: ["q_proj", "down_proj"],
      bias: "none",
    });
  });

  it.each(["llama", "qwen2"] as const)("LoRA for llama.cpp: q and k of %s in its order of rows", async (family) => {
    const { adapter, attached } = make();
    const lora = plainLora(attached, adapter.v);
    const file = join(folder, `${family}.gguf`);
    await writeGgufLora(file, lora, { ...config, family });
    const { metadata, tensors } = readGgufHeader(file);
    expect(Object.fromEntries(metadata)).toEqual({
      "general.type": "adapter",
      "general.architecture": family,
      "adapter.type": "lora",
      "adapter.lora.alpha": 2,
    });
    expect(tensors).toHaveLength(28);
    expect(tensors[1]).toMatchObject({ name: "blk.0.attn_q.weight.lora_b", dimensions: [2, 8], type: 0 });
    const bytes = await readFile(file);
    const values = (name: string) => {
      const { offset, dimensions } = tensors.find((tensor) => tensor.name === name)!;
      const length = 4 * dimensions.reduce((all, size) => all * size);
      return [...new Float32Array(new Uint8Array(bytes.subarray(offset, offset + length)).buffer)];
    };
    const rows = (b: Float32Array) => Array.from({ length: b.length / 2 }, (_, i) => [...b.slice(2 * i, 2 * i + 2)]);
    const [q, , v] = lora.modules;
    // Two heads of four rows: 0 1 | 2 3 become 0 2 1 3.
    const order = family === "llama" ? [0, 2, 1, 3, 4, 6, 5, 7] : [0, 1, 2, 3, 4, 5, 6, 7];
    expect(values("blk.0.attn_q.weight.lora_b")).toEqual(order.flatMap((row) => rows(q!.b)[row]!));
    expect(values("blk.0.attn_q.weight.lora_a")).toEqual([...q!.a]);
    expect(values("blk.0.attn_v.weight.lora_b")).toEqual([...v!.b]);
  });

  it.each([{ kind: "all" }, { kind: "none" }, { kind: "ratio", ratio: 0.7 }, { kind: "tiled", nTie: 7 }] as const)(
    "TinyLoRA for PEFT and back, tying $kind",
    async (tying) => {
      const { adapter, attached } = make({ tying, split: "sqrt" });
      const [there, back] = [join(folder, `peft-${tying.kind}`), join(folder, `own-${tying.kind}`)];
      await writePeftTinyLora(there, adapter, attached, "the/model");
      await importPeftTinyLora(there, base, back);
      const own = await Adapter.load(back);
      own.checkBase(base);
      expect(own.v).toEqual(adapter.v);
      expect(own.spec).toMatchObject({ r: 2, u: 3, split: "sqrt", targetModules: adapter.spec.targetModules });
      for (const { module, a, b, p } of attached.basis.modules) {
        expect(own.matrices!.get(base.modules[module]!.name)).toEqual({ a, b, p });
      }
    },
  );

  it("says which tying PEFT cannot hold", async () => {
    const { adapter, attached } = make({ tying: { kind: "structured", nTie: 2 } });
    await expect(writePeftTinyLora(join(folder, "no"), adapter, attached, "m")).rejects.toThrow(
      /structured.*no such form/,
    );
  });

  it("refuses what is no TinyLoRA of this model", async () => {
    const there = join(folder, "wrong");
    const { adapter, attached } = make();
    await writePeftTinyLora(there, adapter, attached, "m");
    const file = join(there, "adapter_config.json");
    const written = JSON.parse(await readFile(file, "utf8"));
    const attempt = () => importPeftTinyLora(there, base, join(folder, "never"));
    await expect(importPeftTinyLora(join(folder, "nowhere"), base, folder)).rejects.toThrow(
      /cannot be read \(no such file\): expected a folder/,
    );
    await writeFile(file, "{");
    await expect(attempt()).rejects.toThrow(/not JSON/);
    await writeFile(file, JSON.stringify({ ...written, peft_type: "LORA" }));
    await expect(attempt()).rejects.toThrow(/peft_type: expected TINYLORA, found "LORA"/);
    await writeFile(file, JSON.stringify({ ...written, bias: "all" }));
    await expect(attempt()).rejects.toThrow(/bias: /);
    await writeFile(file, JSON.stringify({ ...written, weight_tying: 0 }));
    await expect(attempt()).rejects.toThrow(/base_model\.tinylora_v\.1: expected \[3\], found none/);
    await writeFile(file, JSON.stringify({ ...written, u: 2 }));
    await expect(attempt()).rejects.toThrow(/tinylora_P: expected \[2,2,2\], found \[3,2,2\]/);
    await writeFile(file, JSON.stringify(written));
    const smaller = { ...base, modules: linearModules({ ...config, layers: 1 }) };
    await expect(importPeftTinyLora(there, smaller, join(folder, "never"))).rejects.toThrow(
      /layers\.1\..*no such module/,
    );
    const larger = { ...base, modules: linearModules({ ...config, layers: 3 }) };
    await expect(importPeftTinyLora(there, larger, join(folder, "never"))).rejects.toThrow(
      /layers\.2\.self_attn\.q_proj/,
    );
  });

  it.each([
    ["BF16", "bf16", 3],
    ["F16", "fp16", 1],
  ] as const)("LoRA saved in %s comes with the numbers that it holds", async (name, dtype, rank) => {
    const there = join(folder, `lora-${dtype}`);
    const { adapter, attached } = make({ r: rank });
    const lora = plainLora(attached, adapter.v);
    await writePeftLora(there, lora, "m");
    const file = join(there, "adapter_model.safetensors");
    const { tensors } = decodeSafetensors(await readFile(file), file);
    const halves = [...tensors].map(([key, tensor]) => {
      const data = encodeVector(roundVector(tensorFloats(tensor), dtype), dtype);
      return [key, { dtype: name, shape: tensor.shape, data }] as const;
    });
    await writeFile(file, encodeSafetensors(new Map(halves)));
    const own = join(folder, `own-${dtype}`);
    await importPeft(there, base, own);
    const { matrices, spec, v } = await Adapter.load(own);
    expect(spec).toMatchObject({ kind: "lora", r: rank, dtype: "fp32" });
    expect([...v]).toEqual([1]);
    for (const { module, a, b } of lora.modules) {
      const found = matrices!.get(module.name)!;
      expect(found.a).toEqual(roundVector(a, dtype));
      expect(found.b).toEqual(roundVector(b, dtype));
    }
  });

  it("says what is wrong with the tensors of an adapter", async () => {
    const there = join(folder, "lora-tensors");
    const { adapter, attached } = make();
    await writePeftLora(there, plainLora(attached, adapter.v), "m");
    const file = join(there, "adapter_model.safetensors");
    const { tensors } = decodeSafetensors(await readFile(file), file);
    const key = "base_model.model.model.layers.1.mlp.up_proj.lora_B.weight";
    const refusal = async (bytes: Uint8Array) => {
      await writeFile(file, bytes);
      return importPeft(there, base, join(folder, "never")).then(
        () => "accepted",
        (error: Error) => error.message,
      );
    };
    const values = tensorFloats(tensors.get(key)!);
    const changed = (value: number) =>
      encodeSafetensors(new Map([...tensors, [key, floatTensor(values.with(5, value), [12, 2])]]));
    expect(await refusal(changed(Number.NaN))).toMatch(/up_proj\.lora_B\.weight: expected finite numbers, found NaN$/);
    expect(await refusal(changed(Number.POSITIVE_INFINITY))).toMatch(/expected finite numbers, found Infinity$/);
    const whole = encodeSafetensors(tensors);
    expect(await refusal(whole.subarray(0, whole.length - 1))).toContain(file);
    const integers = Buffer.from(
      Buffer.from(whole).toString("latin1").replace('"dtype":"F32"', '"dtype":"I32"'),
      "latin1",
    );
    expect(await refusal(integers)).toMatch(/dtype: expected F32, F16 or BF16, found "I32"$/);
    const renamed = new Map([...tensors].map(([name, tensor]) => [name.replace("up_proj", "lm_head"), tensor]));
    expect(await refusal(encodeSafetensors(renamed))).toMatch(/no such module, or it cannot be adapted$/);
    expect(await refusal(encodeSafetensors(new Map()))).toMatch(/expected tensors named lora_A, found none$/);
    await rm(file);
    await expect(importPeft(there, base, join(folder, "never"))).rejects.toThrow(/cannot be read \(no such file\)$/);
    expect(await refusal(whole)).toBe("accepted");
  });

  it("refuses LoRA that it cannot hold, in one sentence", async () => {
    const there = join(folder, "lora-wrong");
    const { adapter, attached } = make({ targetModules: ["q_proj", "down_proj"] });
    await writePeftLora(there, plainLora(attached, adapter.v), "m");
    const file = join(there, "adapter_config.json");
    const written = JSON.parse(await readFile(file, "utf8"));
    const refusal = async (changes: object, model = base) => {
      await writeFile(file, JSON.stringify({ ...written, ...changes }));
      return importPeft(there, model, join(folder, "never")).then(
        () => "accepted",
        (error: Error) => error.message,
      );
    };
    expect(await refusal({ peft_type: "IA3" })).toMatch(/peft_type: expected LORA or TINYLORA, found "IA3"$/);
    expect(await refusal({ use_dora: true })).toMatch(
      /use_dora: expected false \(DoRA is not supported\), found true$/,
    );
    expect(await refusal({ bias: "all" })).toMatch(/bias: expected "none" .*, found "all"$/);
    expect(await refusal({ modules_to_save: ["lm_head"] })).toMatch(/modules_to_save: expected null .*lm_head/);
    for (const beginning of ["pissa", "olora", "corda", "loftq"]) {
      expect(await refusal({ init_lora_weights: beginning })).toMatch(/init_lora_weights: expected .*others change W/);
    }
    expect(await refusal({ alora_invocation_tokens: [1, 2] })).toMatch(/alora_invocation_tokens: expected null/);
    expect(await refusal({ r: 32 })).toMatch(/r: expected at most 16, found 32$/);
    expect(await refusal({ rank_pattern: { q_proj: 4 } })).toMatch(/rank_pattern\.q_proj: expected no rank/);
    expect(await refusal({ r: 3 })).toMatch(/q_proj\.lora_A\.weight: expected \[3,8\], found \[2,8\]$/);
    const smaller = { ...base, modules: linearModules({ ...config, layers: 1 }) };
    expect(await refusal({}, smaller)).toMatch(/layers\.1\..*no such module/);
    const larger = { ...base, modules: linearModules({ ...config, layers: 3 }) };
    expect(await refusal({}, larger)).toMatch(
      /layers\.2\.self_attn\.q_proj\.lora_A\.weight: expected \[2,8\], found none$/,
    );
    expect(await refusal({})).toBe("accepted");
  });
});
