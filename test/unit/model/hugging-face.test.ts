import { cpSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";
import { openModel } from "../../../lib/model/open.js";
import { expectError, temporaryFolder, write } from "./files.js";

const golden = fileURLToPath(new URL("../../golden/models/", import.meta.url));

/** A copy of a tiny model that a test may spoil. */
function copyOf(name: string): string {
  const folder = temporaryFolder();
  cpSync(join(golden, name), folder, { recursive: true });
  return folder;
}

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

  it("gives its chat template every special token that transformers gives it", async () => {
    const folder = copyOf("qwen3");
    const render = async (config: object, map?: object) => {
      const template =
        "{{ bos_token }},{{ eos_token }},{{ pad_token }},{{ image_token }},{{ boi_token }},{{ add_bos_token }}";
      write(folder, "tokenizer_config.json", { chat_template: template, ...config });
      if (map) write(folder, "special_tokens_map.json", map);
      return (await openModel(folder)).tokenizer.renderChat([{ role: "user", content: "" }]);
    };
    const config = {
      bos_token: { __type: "AddedToken", content: "<b>" },
      eos_token: "<e>",
      pad_token: null,
      image_token: "<image>",
      extra_special_tokens: { boi_token: "<boi>" },
      add_bos_token: false,
    };
    expect(await render(config)).toBe("<b>,<e>,,<image>,<boi>,");
    const map = { bos_token: "<B>", eos_token: { content: "<E>" }, pad_token: "<P>" };
    expect(await render({ ...config, added_tokens_decoder: {} }, map)).toBe("<b>,<e>,,<image>,<boi>,");
    expect(await render(config, map)).toBe("<B>,<E>,<P>,<image>,<boi>,");
  });

  it("with a single file and an index has the weights of the file", async () => {
    const folder = copyOf("llama-tied");
    cpSync(join(golden, "llama3/model.safetensors"), join(folder, "model.safetensors"));
    const files = new Set((await openModel(folder)).tensors.map(({ file }) => file));
    expect([...files]).toEqual([join(folder, "model.safetensors")]);
  });
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
  const spoilt: [what: string, changes: object, found: string][] = [
    ["an id far away", { model: { type: "BPE", vocab: { a: 4294967294 }, merges: [] } }, "below 300, found 4294967294"],
    ["a fraction as id", { model: { type: "BPE", vocab: { a: 1.5 }, merges: [] } }, "below 300, found 1.5"],
    ["a negative id", { added_tokens: [{ id: -1, content: "a" }] }, "below 300, found -1"],
    ["a token without text", { added_tokens: [{ id: 1 }] }, "added_tokens: expected objects with a content"],
    [
      "a token for whole words",
      { added_tokens: [{ id: 1, content: "a", single_word: true }] },
      "single_word: expected false",
    ],
    ["pieces of no length", { pre_tokenizer: { type: "FixedLength", length: 0 } }, "length: expected a whole number"],
    [
      "pieces of no length among others",
      { pre_tokenizer: { type: "Sequence", pretokenizers: [{ type: "FixedLength" }] } },
      "length: expected a whole number from 1, found undefined",
    ],
    [
      "no pattern to split at",
      { pre_tokenizer: { type: "Split", pattern: {} } },
      "pre_tokenizer: pattern of Split: expected a text",
    ],
    [
      "no pattern to replace",
      { normalizer: { type: "Sequence", normalizers: [{ type: "Replace", pattern: { Regex: 2 }, content: "" }] } },
      'normalizer: pattern of Replace: expected a text under Regex or String, found {"Regex":2}',
    ],
    [
      "no pattern to replace in what it decodes",
      { decoder: { type: "Sequence", decoders: [{ type: "Replace", pattern: {}, content: "" }] } },
      "decoder: pattern of Replace: expected a text",
    ],
    ["a decoder in 100000 lists", { decoder: "deep" }, "not a tokenizer that can be used"],
    ["steps in 100000 sequences", { pre_tokenizer: "steps" }, "not a tokenizer that can be used"],
  ];
  it("tells once what is wrong with its tokenizer", async () => {
    const folder = copyOf("llama3");
    const file = join(folder, "tokenizer.json");
    const added_tokens = [{ id: 1, content: "a", single_word: true }];
    write(folder, "tokenizer.json", JSON.stringify({ ...JSON.parse(readFileSync(file, "utf8")), added_tokens }));
    const message = `${file}: added token "a": single_word: expected false, found true`;
    await expect(openModel(folder)).rejects.toMatchObject({ message });
  });
  it.each(spoilt)("whose tokenizer has %s is refused at once", (_, changes, found) => {
    const folder = copyOf("llama3");
    const file = join(folder, "tokenizer.json");
    const text = JSON.stringify({ ...JSON.parse(readFileSync(file, "utf8")), ...changes });
    const nested = (open: string, close: string) => `${open.repeat(1e5)}${close.repeat(1e5)}`;
    const spelt = text.replace('"deep"', nested("[", "]")).replace('"steps"', nested('{"pretokenizers":[', "]}"));
    write(folder, "tokenizer.json", spelt);
    return expectError(() => openModel(folder), "ERR_MODEL", "tokenizer.json", found);
  });
  it("whose template does not end is refused", async () => {
    const folder = copyOf("llama3");
    const loop = (name: string, inside: string) => `{% for ${name} in range(9000) %}${inside}{% endfor %}`;
    write(folder, "chat_template.jinja", loop("a", loop("b", loop("c", "x"))));
    const { tokenizer } = await openModel(folder);
    await expectError(() => tokenizer.renderChat([]), "ERR_MODEL", "chat template: expected at most 1000000 steps");
  });
  it("whose tokenizer has a pattern without end is refused after some time, with a text that is too long at once", async () => {
    const folder = copyOf("llama3");
    const file = join(folder, "tokenizer.json");
    const pre_tokenizer = { type: "Split", pattern: { Regex: "(a|a?)+b" }, behavior: "Isolated", invert: false };
    write(folder, "tokenizer.json", { ...JSON.parse(readFileSync(file, "utf8")), pre_tokenizer });
    const { tokenizer } = await openModel(folder);
    await expectError(
      () => tokenizer.encode("a".repeat(50)),
      "ERR_MODEL",
      "a text of 50 letters not done after 5003 ms",
    );
    await expectError(() => tokenizer.encode("a".repeat(5e6)), "ERR_DATA", "at most 1048576 letters, found 5000000");
  });
  it("whose tokenizer fails at a text says so", async () => {
    const folder = copyOf("llama3");
    const file = join(folder, "tokenizer.json");
    const post_processor = { type: "TemplateProcessing", single: [{ Sequence: { id: "A" } }, 7], pair: [] };
    write(folder, "tokenizer.json", { ...JSON.parse(readFileSync(file, "utf8")), post_processor });
    const { tokenizer } = await openModel(folder);
    await expectError(() => tokenizer.encode("a"), "ERR_MODEL", "tokenizer.json", "not a tokenizer that can be used");
  });
  it("gives no text for ids that the model does not have", async () => {
    const { tokenizer } = await openModel(join(golden, "llama3"));
    for (const id of [-1, 300, 1.5, Number.NaN]) {
      await expectError(() => tokenizer.decode([5, id]), "ERR_ARGUMENT", `from 0 to 299, found ${id}`);
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
    await expectError(() => openModel(join(folder, "n".repeat(300))), "ERR_FILE", "cannot be read (ENAMETOOLONG)");
    write(folder, "a.gguf", "");
    write(folder, "b.gguf", "");
    await expectError(() => openModel(folder), "ERR_FILE", "2 .gguf files", "a.gguf, b.gguf");
  });
});
