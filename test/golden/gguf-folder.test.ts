// A GGUF model saved as a Hugging Face folder is the same model: configuration, tokenizer, chat template, weights.
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { FullWeights } from "../../lib/adapter/full-weights.js";
import { Engine } from "../../lib/engine.js";
import { openModel } from "../../lib/model/open.js";
import { golden, noSmollm2, onSmollm2, smollm2 } from "./fixtures.js";

const TEXTS = ["Tom has 12 apples, and  gives 7 away.\n", " naïve 日本語 🙂\ttab", "<|im_start|>user\nIt's 3.14<|im_end|>\n", ""];

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "tinylora-gguf-"));
});
afterAll(() => rm(folder, { recursive: true }));

it.each(["llama3-8k.gguf", "qwen2.gguf", "qwen3.gguf", "qwen3-yarn.gguf"].map((name) => golden(`models/${name}`)))("%s", async (path) => {
  await sameModel(path);
});

it.skipIf(noSmollm2)(onSmollm2("SmolLM2, whose weights are quantized"), () => sameModel(smollm2));

async function sameModel(path: string): Promise<void> {
  await using from = await Engine.load(path, { dtype: "fp32", threads: 1 });
  const saved = await mkdtemp(join(folder, "model-"));
  await FullWeights.of(from).save(saved);

  const [one, other] = [from.model, await openModel(saved)];
  expect(other.config).toEqual(one.config);
  expect(other.tokenizer.stopTokens).toEqual(one.tokenizer.stopTokens);
  expect([other.tokenizer.bos, other.tokenizer.eos]).toEqual([one.tokenizer.bos, one.tokenizer.eos]);
  for (const text of TEXTS) expect(other.tokenizer.encode(text)).toEqual(one.tokenizer.encode(text));
  expect(other.tokenizer.hasChatTemplate).toBe(one.tokenizer.hasChatTemplate);
  if (one.tokenizer.hasChatTemplate) {
    const chat = [{ role: "user", content: "What is 7 times 8?" }] as const;
    expect(other.tokenizer.renderChat(chat)).toBe(one.tokenizer.renderChat(chat));
  }

  await using to = await Engine.load(saved, { dtype: "fp32", threads: 1 });
  const tokens = one.tokenizer.encode(TEXTS[0]!);
  expect((await to.logprobs([tokens]))[0]!.logprobs).toEqual((await from.logprobs([tokens]))[0]!.logprobs);
}
