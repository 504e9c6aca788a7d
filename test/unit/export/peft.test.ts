// Files of PEFT: TinyLoRA there and back, LoRA that others saved, what cannot be taken.
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Adapter } from "../../../lib/adapter/adapter.js";
import { linearModules } from "../../../lib/adapter/modules.js";
import { decodeSafetensors, encodeSafetensors, floatTensor, tensorFloats } from "../../../lib/adapter/safetensors.js";
import { encodeVector, roundVector } from "../../../lib/adapter/vector-dtype.js";
import { importPeft } from "../../../lib/export/import-peft.js";
import { plainLora } from "../../../lib/export/lora.js";
import { writePeftLora } from "../../../lib/export/peft-lora.js";
import { importPeftTinyLora, writePeftTinyLora } from "../../../lib/export/peft-tinylora.js";
import { base, config, makeAdapter } from "./made-adapter.js";

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "tinylora-export-"));
});
afterAll(() => rm(folder, { recursive: true }));

describe("files", () => {
  it.each([{ kind: "all" }, { kind: "none" }, { kind: "ratio", ratio: 0.7 }, { kind: "tiled", nTie: 7 }] as const)(
    "TinyLoRA for PEFT and back, tying $kind",
    async (tying) => {
      const { adapter, attached } = makeAdapter({ tying, split: "sqrt" });
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
    const { adapter, attached } = makeAdapter({ tying: { kind: "structured", nTie: 2 } });
    await expect(writePeftTinyLora(join(folder, "no"), adapter, attached, "m")).rejects.toThrow(
      /structured.*no such form/,
    );
  });

  it("refuses what is no TinyLoRA of this model", async () => {
    const there = join(folder, "wrong");
    const { adapter, attached } = makeAdapter();
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
    const tensorFile = join(there, "adapter_model.safetensors");
    const whole = await readFile(tensorFile);
    const { tensors } = decodeSafetensors(whole, tensorFile);
    const without = (part: string) =>
      [...tensors].filter(([name]) => !(name.includes("layers.1.") && name.endsWith(part)));
    await writeFile(tensorFile, encodeSafetensors(new Map(without("_P"))));
    await writeFile(file, JSON.stringify(written));
    await expect(attempt()).rejects.toThrow(/layers\.1\.self_attn\.q_proj: .*save_projection: false/);
    await writeFile(
      tensorFile,
      encodeSafetensors(new Map([...tensors].filter(([name]) => !name.includes("layers.1.")))),
    );
    await expect(attempt()).rejects.toThrow(/layers\.1\.self_attn\.q_proj\.tinylora_A: expected \[2,8\], found none$/);
    const more = new Map([...tensors, ["base_model.tinylora_v.1", floatTensor(new Float32Array(3), [3])]]);
    await writeFile(tensorFile, encodeSafetensors(more));
    await expect(attempt()).rejects.toThrow(/tinylora_v\.1: weight_tying .* makes 1 vectors of 14 modules$/);
    await writeFile(tensorFile, whole);
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
    const { adapter, attached } = makeAdapter({ r: rank });
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
    const { adapter, attached } = makeAdapter();
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
    const { adapter, attached } = makeAdapter({ targetModules: ["q_proj", "down_proj"] });
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
    expect(await refusal({ r: undefined })).toMatch(/adapter_config\.json: r: expected a number$/);
    expect(await refusal({ r: 0 })).toMatch(/adapter_config\.json: r: expected at least 1, found 0$/);
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
