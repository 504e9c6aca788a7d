import { cpSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";
import { Fields } from "../../../lib/model/fields.js";
import { huggingFaceConfig } from "../../../lib/model/hf-config.js";
import { openModel } from "../../../lib/model/open.js";
import { expectError, temporaryFolder, write } from "./files.js";

const golden = fileURLToPath(new URL("../../golden/models/", import.meta.url));
const llama = {
  architectures: ["LlamaForCausalLM"],
  vocab_size: 300,
  hidden_size: 48,
  intermediate_size: 80,
  num_hidden_layers: 2,
  num_attention_heads: 3,
  max_position_embeddings: 256,
};
const config = (changes: object) => huggingFaceConfig(new Fields("config.json", { ...llama, ...changes }));

/** A copy of a tiny model that a test may spoil. */
function copyOf(name: string): string {
  const folder = temporaryFolder();
  cpSync(join(golden, name), folder, { recursive: true });
  return folder;
}

describe("config.json", () => {
  it("has transformers' defaults", () => {
    expect(config({})).toMatchObject({
      kvHeads: 3,
      headDim: 16,
      rmsNormEpsilon: 1e-6,
      tiedEmbeddings: false,
      ropeTheta: 10000,
    });
  });
  it("of transformers 4 and 5 says the same about rope", () => {
    const scaling = { factor: 8, low_freq_factor: 1, high_freq_factor: 4, original_max_position_embeddings: 64 };
    const old = config({ rope_theta: 5e5, rope_scaling: { rope_type: "llama3", ...scaling } });
    expect(config({ rope_parameters: { rope_theta: 5e5, rope_type: "llama3", ...scaling } })).toEqual(old);
    expect(old.ropeScaling).toEqual({
      type: "llama3",
      factor: 8,
      lowFreqFactor: 1,
      highFreqFactor: 4,
      originalContext: 64,
    });
    expect(config({ rope_scaling: { type: "linear", factor: 2 } }).ropeScaling).toEqual({ type: "linear", factor: 2 });
    expect(config({ rope_scaling: null })).not.toHaveProperty("ropeScaling");
  });
  it("that holds a number where an object belongs is refused", () =>
    expectError(() => config({ rope_scaling: 5 }), "ERR_MODEL", "config.json: rope_scaling: expected an object"));
  it("may name a sliding window that no layer uses", () => {
    const qwen2 = { architectures: ["Qwen2ForCausalLM"], sliding_window: 128, max_window_layers: 1 };
    expect(config({ ...qwen2, use_sliding_window: false }).family).toBe("qwen2");
    expect(config({ ...qwen2, use_sliding_window: true, sliding_window: 256 }).family).toBe("qwen2");
  });

  const refused: [key: string, changes: object][] = [
    ["architectures", { architectures: ["GPT2LMHeadModel"] }],
    ["architectures", { architectures: undefined }],
    ["model_type", { architectures: undefined, model_type: "mamba" }],
    ["hidden_size", { hidden_size: -48 }],
    ["hidden_size", { hidden_size: "48" }],
    ["vocab_size", { vocab_size: 2 ** 40 }],
    ["rms_norm_eps", { rms_norm_eps: 0 }],
    ["hidden_act", { hidden_act: "gelu" }],
    ["attention_bias", { attention_bias: true }],
    ["mlp_bias", { mlp_bias: true }],
    ["quantization_config", { quantization_config: { quant_method: "awq" } }],
    ["rope_type", { rope_scaling: { rope_type: "yarn", factor: 4 } }],
    ["factor", { rope_scaling: { rope_type: "linear", factor: -1 } }],
    ["partial_rotary_factor", { partial_rotary_factor: 0.5 }],
    ["sliding_window", { architectures: ["Qwen2ForCausalLM"], sliding_window: 128, use_sliding_window: true }],
    ["sliding_window", { sliding_window: 128, layer_types: ["full_attention", "sliding_attention"] }],
  ];
  it.each(refused)("is refused for %s: %j", (key, changes) =>
    expectError(() => config(changes), "ERR_MODEL", "config.json", `${key}: expected`, "found"),
  );
});

describe("a Hugging Face folder", () => {
  it("of shards gives all tensors", async () => {
    const model = await openModel(join(golden, "llama-tied"));
    expect(model.tensors).toHaveLength(2 * 9 + 2);
    expect(new Set(model.tensors.map(({ file }) => file)).size).toBe(3);
  });

  const names = [
    "../model.safetensors",
    "/etc/passwd.safetensors",
    "a/../b.safetensors",
    "..\\x.safetensors",
    "..",
    "",
    7,
    "x.bin",
  ];
  it.each(names)("whose index names the shard %j is refused", (name) => {
    const folder = copyOf("llama-tied");
    write(folder, "model.safetensors.index.json", { weight_map: { "model.norm.weight": name } });
    return expectError(
      () => openModel(folder),
      "ERR_MODEL",
      "index.json",
      "model.norm.weight",
      "same folder",
      JSON.stringify(name),
    );
  });
  it.each<[generation: unknown, model: unknown, stopTokens: number[]]>([
    [undefined, 3, [1, 3]],
    [[4, 0], 3, [0, 1, 3, 4]],
    [6, null, [1, 6]],
  ])(
    "stops at the end of its tokenizer, and at the tokens of generation_config.json (%j) and config.json (%j)",
    async (generation, model, stops) => {
      const folder = copyOf("qwen3");
      rmSync(join(folder, "tokenizer_config.json"), { force: true });
      const written = JSON.parse(readFileSync(join(folder, "config.json"), "utf8")) as object;
      write(folder, "config.json", { ...written, eos_token_id: model });
      write(folder, "generation_config.json", { eos_token_id: generation });
      expect((await openModel(folder)).tokenizer.stopTokens).toEqual(Int32Array.from(stops));
    },
  );

  it("whose index and shards differ is refused", async () => {
    const folder = copyOf("llama-tied");
    const file = join(folder, "model.safetensors.index.json");
    const index = JSON.parse(readFileSync(file, "utf8")) as { weight_map: Record<string, string> };
    const [name, shard] = Object.entries(index.weight_map)[0]!;
    write(folder, "model.safetensors.index.json", { weight_map: { ...index.weight_map, "no.such": shard } });
    await expectError(() => openModel(folder), "ERR_MODEL", "tensor no.such", shard);
    const { [name]: _, ...rest } = index.weight_map;
    write(folder, "model.safetensors.index.json", { weight_map: rest });
    await expectError(() => openModel(folder), "ERR_MODEL", `tensor ${name}`, shard);
  });
  it.each(["model.safetensors", "tokenizer.json"])("without %s is an ERR_FILE", (name) => {
    const folder = copyOf("llama3");
    rmSync(join(folder, name));
    return expectError(() => openModel(folder), "ERR_FILE", name);
  });
  it("with a damaged tokenizer is refused", async () => {
    const folder = copyOf("llama3");
    for (const content of ["{", "[]", "{}", '{"model":{"type":"BPE"}}']) {
      write(folder, "tokenizer.json", content);
      await expectError(() => openModel(folder), "ERR_MODEL", "tokenizer.json");
    }
  });
  it("whose tokenizer has more ids than the embedding is refused", async () => {
    const folder = copyOf("llama3");
    const raw = JSON.parse(readFileSync(join(folder, "config.json"), "utf8")) as object;
    write(folder, "config.json", { ...raw, vocab_size: 200 });
    await expectError(() => openModel(folder), "ERR_MODEL", "tokenizer.json", "below 200");
  });
  it("that holds nothing, or is not there, is an ERR_FILE", async () => {
    const folder = temporaryFolder();
    await expectError(() => openModel(folder), "ERR_FILE", "expected config.json or one .gguf file");
    await expectError(() => openModel(join(folder, "none")), "ERR_FILE", "no such model");
    write(folder, "a.gguf", "");
    write(folder, "b.gguf", "");
    await expectError(() => openModel(folder), "ERR_FILE", "2 .gguf files", "a.gguf, b.gguf");
  });
});
