import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Adapter } from "../../lib/adapter/adapter.js";
import { Engine } from "../../lib/engine.js";
import { importPeftTinyLora } from "../../lib/export/peft-tinylora.js";
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
    await importPeftTinyLora(golden(`peft/${name}`), engine, own);
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
