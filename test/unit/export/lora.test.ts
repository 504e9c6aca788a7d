import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { roundVector } from "../../../lib/adapter/vector-dtype.js";
import { writeGgufLora } from "../../../lib/export/gguf-lora.js";
import { bf16Error, plainLora } from "../../../lib/export/lora.js";
import { writePeftLora } from "../../../lib/export/peft-lora.js";
import { readGgufHeader } from "../../../lib/model/gguf-header.js";
import { readSafetensors } from "../../../lib/model/safetensors.js";
import { config, makeAdapter } from "./made-adapter.js";

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
          const { adapter, attached } = makeAdapter({ tying, r: rank }, seed);
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
    const { adapter, attached } = makeAdapter();
    const lora = plainLora(
      attached,
      adapter.v.map(() => 0),
    );
    for (const { b } of lora.modules) expect([...b].every((value) => value === 0)).toBe(true);
    expect(bf16Error(lora)).toBe(0);
  });

  it("tells what bf16 does to it", () => {
    const { adapter, attached } = makeAdapter();
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
    const { adapter, attached } = makeAdapter({ targetModules: ["q_proj", "down_proj"] });
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
    const { adapter, attached } = makeAdapter();
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
});
