import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { TinyLoraError } from "../../../lib/error.js";
import { openModel } from "../../../lib/model/open.js";
import { expectError, temporaryFolder, write } from "./files.js";
import { type Gguf, gguf, type Tensor, type Value } from "./gguf-writer.js";

const folder = temporaryFolder();
const metadata: Record<string, Value> = {
  "general.architecture": { text: "llama" },
  "llama.context_length": { u32: 64 },
  "llama.embedding_length": { u32: 32 },
  "llama.block_count": { u32: 1 },
  "llama.feed_forward_length": { u32: 64 },
  "llama.attention.head_count": { u32: 2 },
  "llama.attention.head_count_kv": { u32: 1 },
  "llama.attention.layer_norm_rms_epsilon": { f32: 1e-5 },
  "tokenizer.ggml.model": { text: "gpt2" },
  "tokenizer.ggml.pre": { text: "smollm" },
  "tokenizer.ggml.tokens": { texts: ["<|im_end|>", "a", "b", "ab"] },
  "tokenizer.ggml.token_type": { u32s: [3, 1, 1, 1] },
  "tokenizer.ggml.merges": { texts: ["a b"] },
  "tokenizer.ggml.eos_token_id": { u32: 0 },
};
const embedding: Tensor = { name: "token_embd.weight", dimensions: [32, 4], type: 8, offset: 0 };
const query: Tensor = { name: "blk.0.attn_q.weight", dimensions: [32, 32], type: 2, offset: 160 };
const whole: Gguf = { metadata, tensors: [embedding, query], data: 160 + 576 };

const file = (content: Partial<Gguf>) => write(folder, "m.gguf", gguf({ ...whole, ...content }));
const withKey = (key: string, value: Value) => ({ metadata: { ...metadata, [key]: value } });
const withTensor = (tensor: Partial<Tensor>) => ({ tensors: [embedding, { ...query, ...tensor }] });

describe("a GGUF file", () => {
  it("is read under Hugging Face's names", async () => {
    const { config, tensors, tokenizer } = await openModel(file({}));
    expect(config).toEqual({
      family: "llama",
      vocab: 4,
      hidden: 32,
      intermediate: 64,
      layers: 1,
      heads: 2,
      kvHeads: 1,
      headDim: 16,
      context: 64,
      rmsNormEpsilon: 1e-5,
      tiedEmbeddings: true,
      ropeTheta: 10000,
    });
    expect(tensors).toMatchObject([
      { name: "model.embed_tokens.weight", type: "Q8_0", shape: [4, 32], bytes: 136 },
      { name: "model.layers.0.self_attn.q_proj.weight", type: "Q4_0", shape: [32, 32], bytes: 576, permutedHeads: 2 },
    ]);
    expect([...tokenizer.encode("abb<|im_end|>")]).toEqual([3, 2, 0]);
    expect([...tokenizer.stopTokens]).toEqual([0]);
  });
  it("may hold Llama 3's rope divisors", async () => {
    const golden = fileURLToPath(new URL("../../golden/models/llama3-8k", import.meta.url));
    const [fromGguf, fromFolder] = [await openModel(`${golden}.gguf`), await openModel(golden)];
    expect(fromGguf.config).toEqual(fromFolder.config);
  });

  it("may have been merged of parts", async () =>
    expect((await openModel(file(withKey("split.count", { u32: 0 })))).config.layers).toBe(1));
  it("may hold yarn", async () => {
    const yarn = { "llama.rope.scaling.type": { text: "yarn" }, "llama.rope.scaling.factor": { f32: 4 } };
    const { config } = await openModel(file({ metadata: { ...metadata, ...yarn } }));
    const read = { type: "yarn", factor: 4, originalContext: 64, betaFast: 32, betaSlow: 1, truncate: true };
    expect(config.ropeScaling).toEqual({ ...read, attentionFactor: 0.1 * Math.log(4) + 1 });
    const more: Record<string, Value> = {
      "llama.rope.scaling.original_context_length": { u32: 16 },
      "llama.rope.scaling.yarn_beta_fast": { f32: 8 },
      "llama.rope.scaling.yarn_beta_slow": { f32: 2 },
      "llama.rope.scaling.attn_factor": { f32: 1 },
    };
    const other = await openModel(file({ metadata: { ...metadata, ...yarn, ...more } }));
    expect(other.config.ropeScaling).toMatchObject({ originalContext: 16, betaFast: 8, betaSlow: 2 });
  });

  const refused: [what: string, content: Partial<Gguf>, found: string[]][] = [
    ["an old version", { version: 1 }, ["version: expected 2 or 3, found 1"]],
    ["the other byte order", { version: 3 * 2 ** 24 }, ["big-endian"]],
    [
      "an unknown architecture",
      withKey("general.architecture", { text: "mamba" }),
      ["general.architecture", '"mamba"'],
    ],
    ["a size of zero", withKey("llama.embedding_length", { u32: 0 }), ["llama.embedding_length"]],
    ["a size per layer", withKey("llama.feed_forward_length", { u32s: [64] }), ["llama.feed_forward_length"]],
    ["long numbers per layer", withKey("llama.feed_forward_length", { u64s: [64n] }), ["llama.feed_forward_length"]],
    ["a huge size", withKey("llama.block_count", { u64: 2n ** 63n }), ["llama.block_count"]],
    ["heads beyond the engine's", withKey("llama.attention.head_count", { u32: 1025 }), ["from 1 to 1024, found 1025"]],
    ["heads too wide", withKey("llama.attention.key_length", { u32: 2 ** 20 }), ["from 1 to 256, found 1048576"]],
    [
      "more values than a tokenizer has",
      withKey("tokenizer.ggml.scores", { bytes: new Uint8Array(2 ** 23) }),
      ["tokenizer.ggml.scores", "at most 8388608 values"],
    ],
    ["other value heads", withKey("llama.attention.value_length", { u32: 8 }), ["value_length: expected 16"]],
    ["partial rope", withKey("llama.rope.dimension_count", { u32: 8 }), ["rope.dimension_count: expected 16"]],
    ["longrope", withKey("llama.rope.scaling.type", { text: "longrope" }), ["rope.scaling.type", '"longrope"']],
    ["a factor of attention", withKey("llama.rope.scaling.attn_factor", { f32: 0.5 }), ["attn_factor", "found 0.5"]],
    ["one part of a model", withKey("split.count", { u32: 3 }), ["split.count: expected a model in one file"]],
    ["experts", withKey("llama.expert_count", { u32: 8 }), ["llama.expert_count"]],
    ["an unknown tokenizer", withKey("tokenizer.ggml.model", { text: "bert" }), ["tokenizer.ggml.model", '"bert"']],
    ["an unknown pipeline", withKey("tokenizer.ggml.pre", { text: "tekken" }), ["tokenizer.ggml.pre", '"tekken"']],
    ["eos outside", withKey("tokenizer.ggml.eos_token_id", { u32: 9 }), ["eos_token_id", "below 4, found 9"]],
    ["odd alignment", withKey("general.alignment", { u32: 7 }), ["general.alignment", "found 7"]],
    ["no alignment", withKey("general.alignment", { u32: 0 }), ["general.alignment", "found 0"]],
    ["an unknown tensor", withTensor({ name: "blk.0.attn_z.weight" }), ["tensor blk.0.attn_z.weight"]],
    ["an unknown format", withTensor({ type: 16 }), ["attn_q", "ggml's number 16"]],
    ["rows that are no blocks", withTensor({ dimensions: [33, 4] }), ["attn_q", "multiple of 32, found 33"]],
    ["five dimensions", withTensor({ dimensions: [32, 1, 1, 1, 1] }), ["attn_q", "found 5"]],
    ["an offset beyond the end", withTensor({ offset: 2n ** 40n }), ["attn_q", "found 0 to the end"]],
    ["an overflowing offset", withTensor({ offset: 2n ** 64n - 32n }), ["attn_q", "2^53"]],
    ["overflowing sizes", withTensor({ dimensions: [2 ** 40, 2 ** 40] }), ["attn_q"]],
    ["an offset between", withTensor({ offset: 161 }), ["attn_q", "multiple of 32"]],
    ["tensors that overlap", withTensor({ offset: 128 }), ["attn_q", "overlap"]],
    [
      "wrong divisors",
      withTensor({ name: "rope_freqs.weight", dimensions: [8], type: 0 }),
      ["rope_freqs.weight", "number 0"],
    ],
  ];
  it.each(refused)("with %s is refused", (_, content, found) =>
    expectError(() => openModel(file(content)), "ERR_MODEL", "m.gguf", ...found),
  );
  it.each(Object.keys(metadata).filter((key) => !/head_count_kv|token_type|eos/.test(key)))(
    "without %s is refused",
    (key) => {
      const { [key]: _, ...rest } = metadata;
      return expectError(() => openModel(file({ metadata: rest })), "ERR_MODEL", key, "found nothing");
    },
  );
  it("with counts that no file could hold is refused at once", async () => {
    const bytes = gguf(whole);
    for (const place of [8, 16, 24]) {
      const changed = Buffer.from(bytes);
      changed.writeBigUInt64LE(2n ** 62n, place);
      await expectError(() => openModel(write(folder, "c.gguf", changed)), "ERR_MODEL", `found ${2n ** 62n}`);
    }
  });

  it("cut at any byte is refused", async () => {
    const bytes = gguf(whole);
    for (let length = 0; length < bytes.length; length += length < 1000 ? 1 : 37) {
      const cut = write(folder, "cut.gguf", bytes.subarray(0, length));
      await expect(openModel(cut)).rejects.toThrow(TinyLoraError);
    }
  });
  it("with any byte changed gives tensors inside the file or an error of ours", async () => {
    const bytes = readFileSync(file({}));
    await fc.assert(
      fc.asyncProperty(fc.nat(1100), fc.nat(255), async (place, value) => {
        const changed = Buffer.from(bytes);
        changed[place] = value;
        try {
          const { tensors } = await openModel(write(folder, "changed.gguf", changed));
          for (const { offset, bytes: size } of tensors) expect(offset + size).toBeLessThanOrEqual(bytes.length);
        } catch (error) {
          expect(error).toBeInstanceOf(TinyLoraError);
        }
      }),
      { numRuns: 600 },
    );
  });
});

describe("sentencepiece in a GGUF file", () => {
  const tokens = ["<unk>", "<s>", "</s>", ...bytes(), "▁", "a", "b", "▁a", "ab", "▁ab", "\ufeff"];
  const scores = tokens.map((token) => ({ "▁a": -2, ab: -1, "▁ab": -3 })[token] ?? (token.length === 1 ? -9 : 0));
  const spm = {
    ...metadata,
    "tokenizer.ggml.model": { text: "llama" },
    "tokenizer.ggml.tokens": { texts: tokens },
    "tokenizer.ggml.scores": { f32s: scores },
    "tokenizer.ggml.token_type": { u32s: tokens.map((_, id) => [2, 3, 3][id] ?? (id < 259 ? 6 : 1)) },
    "tokenizer.ggml.bos_token_id": { u32: 1 },
    "tokenizer.ggml.eos_token_id": { u32: 2 },
  };
  const big: Tensor = { ...embedding, dimensions: [32, tokens.length] };

  it("merges by score, falls back to bytes, begins with BOS and a space", async () => {
    const path = file({ metadata: spm, tensors: [big], data: 34 * tokens.length });
    const { tokenizer } = await openModel(path);
    const texts = (text: string) => [...tokenizer.encode(text)].map((id) => tokens[id]);
    expect(texts("ab")).toEqual(["<s>", "▁ab"]);
    expect(texts("aab b")).toEqual(["<s>", "▁a", "ab", "▁", "b"]);
    expect(texts("aé")).toEqual(["<s>", "▁a", "<0xC3>", "<0xA9>"]);
    expect(texts("\ufeff")).toEqual(["<s>", "▁", "\ufeff"]);
    for (const text of ["ab", " a  b", "aé😀", "\ufeffa"]) expect(tokenizer.decode(tokenizer.encode(text))).toBe(text);
  });

  it("reads and leaves out <unk> as the special token that it is", async () => {
    const { tokenizer } = await openModel(file({ metadata: spm, tensors: [big], data: 34 * tokens.length }));
    expect([...tokenizer.encode("a<unk>b", { addSpecialTokens: false })]).toEqual([
      tokens.indexOf("▁a"),
      0,
      tokens.indexOf("▁"),
      tokens.indexOf("b"),
    ]);
    expect(tokenizer.decode([0, tokens.indexOf("b")])).toBe("b");
  });

  it("keeps the text's own first space where it puts none before it", async () => {
    const bare = { ...spm, "tokenizer.ggml.add_space_prefix": { bool: false } };
    const { tokenizer } = await openModel(file({ metadata: bare, tensors: [big], data: 34 * tokens.length }));
    for (const text of ["ab", " ab", "  a"]) expect(tokenizer.decode(tokenizer.encode(text))).toBe(text);
  });

  it("with a token too long to split is refused at once", () => {
    const long = { texts: [...tokens.slice(1), "a".repeat(2 ** 15)] };
    const path = file({
      metadata: { ...spm, "tokenizer.ggml.tokens": long },
      tensors: [big],
      data: 34 * tokens.length,
    });
    return expectError(() => openModel(path), "ERR_MODEL", "tokenizer.ggml.tokens", "squared lengths");
  });

  function bytes(): string[] {
    return Array.from({ length: 256 }, (_, i) => `<0x${i.toString(16).toUpperCase().padStart(2, "0")}>`);
  }
});
