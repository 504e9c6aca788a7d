import { createHash } from "node:crypto";
import { describe, expect, it } from "vitest";
import { Engine } from "../../lib/engine.js";
import { ggufLora } from "../../lib/export/gguf-lora.js";
import { plainLora } from "../../lib/export/lora.js";
import { golden, type LlamaCppFixture, readFixture } from "./fixtures.js";
import { randomAdapter } from "./random-adapter.js";

const { cases } = readFixture<LlamaCppFixture>("llamacpp.json");

describe.each(cases)("$kind of $model as llama.cpp has it", ({ model, kind, ids, sha256, logprobs, base }) => {
  const distance = (found: ArrayLike<number>, wanted: readonly number[]) =>
    Math.max(...wanted.map((value, i) => Math.abs(found[i + 1]! - value)));

  it("is the file that llama.cpp was given, with llama.cpp's log-probabilities", async () => {
    await using engine = await Engine.load(golden(`models/${model}`), { dtype: "fp32", threads: 1 });
    const adapter = randomAdapter(engine, kind);
    await engine.attach(adapter);
    const bytes = ggufLora(plainLora(engine.basis(), adapter.v), engine.model.config);
    expect(createHash("sha256").update(bytes).digest("hex")).toBe(sha256);

    const tokens = Int32Array.from(ids);
    const [on] = await engine.logprobs([tokens]);
    const [off] = await engine.logprobs([tokens], { adapter: "base" });
    expect(distance(off!.logprobs, base)).toBeLessThan(3e-4);
    expect(distance(on!.logprobs, logprobs)).toBeLessThan(3e-4);
    expect(distance(on!.logprobs, base)).toBeGreaterThan(1);
  });
});
