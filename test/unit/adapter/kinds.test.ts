import { describe, expect, it } from "vitest";
import { Adapter } from "../../../lib/adapter/adapter.js";
import { trainableNames } from "../../../lib/adapter/full-weights.js";
import { linearModules } from "../../../lib/adapter/modules.js";
import { parameterTable } from "../../../lib/adapter/parameters.js";
import { adapterSpec, specDifferences } from "../../../lib/adapter/spec.js";
import { roundStochastically, roundVector } from "../../../lib/adapter/vector-dtype.js";
import { adapterOptions } from "../../../lib/config/adapter-options.js";
import { resolveConfig } from "../../../lib/config/config.js";
import type { Model } from "../../../lib/model/open.js";
import { randomUniform } from "../../../lib/philox.js";

const modules = linearModules({
  ...{ family: "llama", vocab: 10, hidden: 8, intermediate: 16, layers: 2, heads: 2, kvHeads: 1, headDim: 4 },
  ...{ context: 64, rmsNormEpsilon: 1e-5, tiedEmbeddings: true, ropeTheta: 1e4 },
} as const);
const base = { modules, fingerprint: "0123456789abcdef" };

describe("kinds", () => {
  it("count what they train", () => {
    const count = (options: Parameters<typeof adapterSpec>[0]) => parameterTable(adapterSpec(options), modules);
    expect(count({})).toMatchObject({ trained: 13, vector: 13 });
    expect(count({ kind: "lora_xs", r: 3 })).toMatchObject({ trained: 14 * 9, vector: 14 * 9, bytes: 4 * 14 * 9 });
    expect(count({ kind: "lora_xs", r: 3, tying: { kind: "all" } }).trained).toBe(9);
    const sides = modules.reduce((sum, { in: inputs, out }) => sum + inputs + out, 0);
    expect(count({ kind: "lora", r: 4 })).toMatchObject({ trained: 4 * sides, vector: 1, frozen: 0 });
  });

  it("LoRA starts as in PEFT: A within 1 / sqrt(in), B zero, scale alpha / r", () => {
    const adapter = Adapter.create(base, { kind: "lora", r: 2, loraAlpha: 6 });
    expect([...adapter.v]).toEqual([3]);
    for (const { name, in: inputs } of modules) {
      const { a, b, p } = adapter.matrices!.get(name)!;
      const largest = Math.max(...a.map(Math.abs));
      expect(largest).toBeLessThanOrEqual(1 / Math.sqrt(inputs));
      expect(largest).toBeGreaterThan(0.5 / Math.sqrt(inputs));
      expect(b.every((value) => value === 0)).toBe(true);
      expect([...p]).toEqual([1, 0, 0, 1]);
    }
  });

  it("come from options by name, and refuse what is another's", () => {
    expect(adapterOptions(resolveConfig({ adapter: "lora_xs", r: 2, v_dtype: "fp16" }))).toMatchObject({
      ...{ kind: "lora_xs", u: 4, tying: { kind: "none" }, dtype: "fp16" },
      projection: { distribution: "unit" },
    });
    expect(adapterOptions(resolveConfig({ adapter: "full" }))).toBeNull();
    const refused: [object, RegExp][] = [
      [{ adapter: "lora", u: 3 }, /u: expected nothing, since adapter is lora: it has no effect there, found 3/],
      [{ adapter: "lora", v_dtype: "bf16" }, /v_dtype: expected fp32, since adapter is lora/],
      [{ adapter: "full", tying: "none" }, /tying: expected nothing, since adapter is full/],
      [{ lora_alpha: 3 }, /lora_alpha: expected nothing, since adapter is tinylora: it has no effect/],
      [{ adapter: "full", beta: 0.1 }, /beta: expected 0, since adapter is full/],
      [{ adapter: "dora" }, /adapter: expected one of tinylora, lora_xs, lora, full/],
    ];
    for (const [options, message] of refused) expect(() => resolveConfig(options)).toThrow(message);
    expect(() => Adapter.create(base, { kind: "lora", u: 5 })).toThrow("u: expected 1 for lora, found 5");
    expect(() => adapterSpec({ kind: "lora_xs", r: 3, u: 4 })).toThrow("u: expected 9 for lora_xs, found 4");
  });

  it("say in what one is another than it should be, but for the type of v", () => {
    const one = adapterSpec({ u: 5, dtype: "bf16" });
    const other = adapterSpec({
      ...{
        kind: "lora_xs",
        r: 3,
        tying: { kind: "tiled", nTie: 4 },
        split: "sqrt",
        targetModules: ["q_proj", "v_proj"],
      },
      projection: { seed: 7, distribution: "unit" },
    });
    expect(specDifferences(other, { ...other, dtype: "bf16" })).toEqual([]);
    expect(specDifferences(other, one)).toEqual([
      "kind lora_xs, not tinylora",
      "r 3, not 2",
      "u 9, not 5",
      expect.stringMatching(/^tying tiled.*, not /),
      "split sqrt, not left",
      expect.stringMatching(/^target modules q_proj v_proj, not q_proj k_proj .* down_proj$/),
      "projection unit, not normal",
      "projection seed 7, not 0",
    ]);
  });
});

describe("stochastic rounding", () => {
  it.each(["bf16", "fp16"] as const)("to %s goes to a neighbour, with the right mean", (dtype) => {
    const value = 0.123456;
    const rounded = roundStochastically(new Float32Array(20000).fill(value), dtype, (i) =>
      randomUniform(1, "rounding", 1, i),
    );
    const exact = Math.fround(value);
    const neighbours = [...new Set(rounded)].sort();
    expect(neighbours).toHaveLength(2);
    expect(neighbours[0]!).toBeLessThan(exact);
    expect(neighbours[1]!).toBeGreaterThan(exact);
    const mean = rounded.reduce((sum, one) => sum + one, 0) / rounded.length;
    expect(Math.abs(mean - exact)).toBeLessThan(0.02 * (neighbours[1]! - neighbours[0]!));
  });

  it("leaves what the type holds, and fp32, as they are", () => {
    const held = roundVector([0, -1.5, 3e-5, 1000], "bf16");
    expect(roundStochastically(held, "bf16", () => 0.999999)).toEqual(held);
    expect(roundStochastically([0.1], "fp32", () => 0)[0]).toBeCloseTo(0.1, 7);
  });
});

describe("full fine-tuning", () => {
  it("trains every weight once, or those of the modules that are named", () => {
    const layer = "model.layers.0.self_attn";
    const names = ["lm_head.weight", `${layer}.q_proj.weight`, `${layer}.q_proj.bias`, `${layer}.k_proj.weight`];
    const tensors = [...names, `${layer}.rotary_emb.inv_freq`].map((name) => ({ name }));
    const of = (tiedEmbeddings: boolean) => ({ config: { tiedEmbeddings }, tensors }) as unknown as Model;
    expect(trainableNames(of(false))).toEqual(names);
    expect(trainableNames(of(true))).toEqual(names.slice(1)); // the embedding is trained
    expect(trainableNames(of(false), ["q_proj"])).toEqual(names.slice(1, 3));
  });
});
