import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Adapter } from "../../lib/adapter/adapter.js";
import { Engine } from "../../lib/engine.js";
import { importPeft } from "../../lib/export/import-peft.js";
import { plainLora } from "../../lib/export/lora.js";
import { writeMerged } from "../../lib/export/merged.js";
import { writePeftLora } from "../../lib/export/peft-lora.js";
import { floats, golden, readFixture } from "./fixtures.js";

interface PeftCase {
  readonly model: string;
  readonly ids: number[];
  readonly logprobs: number[];
  readonly coefficients: string;
  readonly gradient: number[];
}

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "tinylora-peft-"));
});
afterAll(() => rm(folder, { recursive: true }));

describe.each(["llama3", "qwen2"])("TinyLoRA of %s as PEFT saved it", (name) => {
  const expected = readFixture<PeftCase>(`peft/${name}.json`);

  it("has PEFT's log-probabilities and gradient of v", async () => {
    await using engine = await Engine.load(golden(`models/${expected.model}`), { dtype: "fp32", threads: 1 });
    const own = join(folder, name);
    await importPeft(golden(`peft/${name}`), engine, own);
    await engine.attach(await Adapter.load(own));
    const tokens = Int32Array.from(expected.ids);
    const { logprobs } = await engine.forward({
      tokens,
      starts: Int32Array.of(0, tokens.length),
      parents: Int32Array.of(-1),
      slots: Int32Array.of(0),
      scored: Uint8Array.of(1),
      temperatures: Float32Array.of(1),
      keep: true,
    });
    const difference = expected.logprobs.map((wanted, i) => Math.abs(logprobs[i + 1]! - wanted));
    expect(Math.max(...difference)).toBeLessThan(1e-4);
    await engine.backward(Float32Array.of(0, ...floats(expected.coefficients)));
    const gradient = engine.gradient(0);
    expect(gradient).toHaveLength(expected.gradient.length);
    const scale = Math.max(...expected.gradient.map(Math.abs));
    const error = expected.gradient.map((wanted, i) => Math.abs(gradient[i]! - wanted));
    expect(Math.max(...error) / scale).toBeLessThan(1e-4);
  });
});

describe.each(["lora-llama3", "lora-qwen2"])("LoRA of %s as PEFT saved it", (name) => {
  const expected = readFixture<Pick<PeftCase, "model" | "ids" | "logprobs">>(`peft/${name}.json`);
  const distance = (logprobs: ArrayLike<number>) =>
    Math.max(...expected.logprobs.map((wanted, i) => Math.abs(logprobs[i + 1]! - wanted)));
  const score = async (engine: Engine) => {
    const [scored] = await engine.logprobs([Int32Array.from(expected.ids)]);
    return scored!.logprobs;
  };

  it("has PEFT's log-probabilities, and merged into the weights too", async () => {
    await using engine = await Engine.load(golden(`models/${expected.model}`), { dtype: "fp32", threads: 1 });
    const [own, merged] = [join(folder, name), join(folder, `${name}-merged`)];
    await importPeft(golden(`peft/${name}`), engine, own);
    const adapter = await Adapter.load(own);
    await engine.attach(adapter);
    expect(distance(await score(engine))).toBeLessThan(1e-4);

    const errors = await writeMerged(merged, engine.model, plainLora(engine.basis(), adapter.v), "fp32");
    expect(Math.max(...errors.map(({ relative }) => relative))).toBeLessThan(1e-6);
    await using whole = await Engine.load(merged, { dtype: "fp32", threads: 1 });
    expect(distance(await score(whole))).toBeLessThan(1e-4);
  });

  it("comes back from its own export with the same bits", async () => {
    await using engine = await Engine.load(golden(`models/${expected.model}`), { dtype: "fp32", threads: 1 });
    const [own, back] = [join(folder, `${name}-1`), join(folder, `${name}-2`)];
    const exported = [join(folder, `${name}-there-1`), join(folder, `${name}-there-2`)];
    await importPeft(golden(`peft/${name}`), engine, own);
    for (const [place, source] of [own, back].entries()) {
      const adapter = await Adapter.load(source);
      await engine.attach(adapter);
      await writePeftLora(exported[place]!, plainLora(engine.basis(), adapter.v), expected.model);
      if (place === 0) await importPeft(exported[0]!, engine, back);
    }
    const [first, second] = await Promise.all(
      exported.map((path) => readFile(join(path, "adapter_model.safetensors"))),
    );
    expect(second!.equals(first!)).toBe(true);
  });
});
