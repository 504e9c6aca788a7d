import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { adapterOptions } from "../../../lib/config/adapter-options.js";
import { resolveConfig } from "../../../lib/config/config.js";
import { readConfigFile } from "../../../lib/config/config-file.js";
import { environment } from "../../../lib/config/env.js";
import { fields, parseFlag } from "../../../lib/config/fields.js";
import { checkMethod, fieldsOf, noEffect, unusedBy } from "../../../lib/config/method.js";
import { nearest } from "../../../lib/config/nearest.js";
import type { TrainConfig, TrainOptions } from "../../../lib/config/schema.js";
import { TinyLoraError } from "../../../lib/error.js";

describe("resolveConfig", () => {
  it("refuses what is wrong, naming the key, what was expected and what was found", () => {
    const cyclic: Record<string, unknown> = {};
    cyclic.self = cyclic;
    const cases: [Record<string, unknown>, RegExp][] = [
      [{ lerning_rate: 1 }, /^flags: unknown key lerning_rate \(nearest: learning_rate\)$/],
      [{ output_dir: "out" }, /unknown key output_dir \(here --run, or run of a trainer, is the folder\)$/],
      [
        { per_device_train_batch_size: 8, bf16: true },
        /^flags: unknown keys .* \(here a step has .*, bf16 \(here dtype\)$/,
      ],
      [{ constructor: "llama" }, /^flags: unknown key constructor \(nearest: \w+\)$/],
      [{ "num-generation": 1 }, /nearest: num_generations/],
      [{ learning_rate: -1 }, /^flags: learning_rate: expected more than 0, found -1$/],
      [{ learning_rate: Number.NaN }, /learning_rate: expected a number, found NaN/],
      [{ beta: Number.POSITIVE_INFINITY }, /beta: expected a number, found Infinity/],
      [{ num_generations: 1 }, /num_generations: expected at least 2, found 1/],
      [{ num_generations: 2.5 }, /num_generations: expected a whole number, found 2.5/],
      [{ seed: "seven" }, /seed: expected a number, found "seven"/],
      [{ base: {}, grid: {} }, /unknown keys base .*, grid .*; a file with a grid is one for sweep$/],
      [
        { adapter: "runs/first" },
        /adapter: expected one of .* \(start_from takes one to go on from\), found "runs\/first"/,
      ],
      [{ loss_type: "gpro" }, /loss_type: expected one of .* \(nearest: grpo\), found "gpro"/],
      [{ scale_rewards: "std" }, /scale_rewards: expected one of group, batch, none/],
      [{ rewards: [] }, /rewards: expected at least 1 in the list, found \[\]/],
      [{ rewards: [() => 1] }, /rewards\.0: expected a text, found a function$/],
      [{ max_steps: 3n }, /max_steps: expected a number, found 3$/],
      [{ data: cyclic }, /data: expected a text, found <ref \*1>/],
      [[1] as never, /^flags: expected keys and values, found \[1\]$/],
      [null as never, /^flags: expected keys and values, found null$/],
      [{ stop: ["a", ""] }, /stop\.1: expected at least 1 letter, found ""/],
      [{ reward_timeout: 1e7 }, /reward_timeout: expected at most 86400/],
      [{ rewards: "answer" }, /rewards: expected a list, found "answer"/],
      [{ rewards: ["answer"], reward_weights: [1, 2] }, /reward_weights: expected 1 numbers/],
      [{ target_modules: ["q_proj", "x_proj"] }, /target_modules\.1: expected one of .*found "x_proj"/],
      [{ top_p: 0 }, /top_p: expected more than 0, found 0/],
      [{ top_p: 1.5 }, /top_p: expected at most 1, found 1.5/],
      [{ temperature: 0 }, /^flags: temperature: expected at least 1e-30, found 0$/],
      [{ tying: "tiled" }, /n_tie: expected a number of modules, since tying is tiled/],
      [{ n_tie: 3 }, /n_tie: expected nothing, since tying is all, found 3/],
      [{ tying: "ratio" }, /weight_tying: expected a share/],
      [{ delta: 1.1 }, /delta: expected more than 1 \+ epsilon_high/],
      [{ loss_type: "luspo" }, /importance_sampling_level: expected sequence/],
      [{ optim: "natural", fisher_decay: 1 }, /fisher_decay: expected less than 1, found 1/],
      [{ optim: "natural", adapter: "lora" }, /optim: expected adamw or sgd, since adapter is lora/],
      [{ optim: "natural", adapter: "full" }, /optim: expected adamw or sgd, since adapter is full/],
      [{ optim: "natural", beta: 0.1 }, /beta: expected 0, since optim is natural/],
      [{ optim: "natural", num_iterations: 2 }, /num_iterations: expected 1, since optim is natural/],
      ...(
        [
          [{ sigma: 0 }, /sigma: expected more than 0/],
          [{ adapter: "lora" }, /estimator: expected policy_gradient, since adapter is lora/],
          [{ optim: "natural" }, /optim: expected adamw or sgd, since estimator is evolution_strategies/],
          [{ num_iterations: 2 }, /num_iterations: expected 1, since estimator/],
          [{ beta: 0.1 }, /beta: expected 0, since estimator/],
          [{ num_generations: 5 }, /num_generations: expected an even number/],
        ] as [Record<string, unknown>, RegExp][]
      ).map(([options, message]): [Record<string, unknown>, RegExp] => [
        { estimator: "evolution_strategies", ...options },
        message,
      ]),
      [{ dtype: "fp16" }, /dtype: expected bf16 or fp32, since device is cpu, found "fp16"/],
      [{ warmup_steps: 200 }, /warmup_steps: expected at most max_steps \(150\)/],
      [{ mask_truncated_completions: "yes" }, /mask_truncated_completions: expected true or false, found "yes"/],
    ];
    for (const [options, message] of cases) expect(() => resolveConfig(options, "flags")).toThrow(message);
  });

  it("has defaults of their own for the embedded model, under what is given", () => {
    const asked = ({ data, shots, max_completion_length }: TrainConfig) => [data, shots, max_completion_length];
    expect(asked(resolveConfig({ model: "embedded", data: undefined }))).toEqual(["embedded", 0, 80]);
    expect(asked(resolveConfig({ model: "embedded", data: "svamp", shots: 1 }))).toEqual(["svamp", 1, 80]);
    expect(asked(resolveConfig({ model: "models/embedded" }))).toEqual(["gsm8k", 2, 256]);
  });

  it("refuses what another option leaves without effect, naming both", () => {
    const evolution = { estimator: "evolution_strategies", num_generations: 4 };
    const cases: [Record<string, unknown>, string][] = [
      [{ adapter: "lora", u: 4 }, "u: expected nothing, since adapter is lora: it has no effect there, found 4"],
      [{ adapter: "full", tying: "none" }, "tying: expected nothing, since adapter is full: it"],
      [{ adapter: "lora", v_dtype: "bf16" }, "v_dtype: expected fp32, since adapter is lora: it"],
      [{ lora_alpha: 4 }, "lora_alpha: expected nothing, since adapter is tinylora: it"],
      [{ adapter: "full", r: 8 }, "r: expected 2, since adapter is full: it has no effect there, found 8"],
      [{ adapter: "full", init: "uniform" }, "init: expected zero, since adapter is full: it"],
      [{ adapter: "lora", split: "sqrt" }, "split: expected left, since adapter is lora: it"],
      [{ adapter: "lora_xs", projection_seed: 6 }, "projection_seed: expected 0, since adapter is lora_xs: it"],
      [{ v_rounding: "stochastic" }, "v_rounding: expected nearest, since v_dtype is fp32: it"],
      [{ ...evolution, loss_type: "grpo" }, "loss_type: expected dapo, since estimator is evolution_strategies: it"],
      [{ ...evolution, epsilon: 0.1 }, "epsilon: expected 0.2, since estimator is evolution_strategies: it"],
      [{ ...evolution, keep_activations: true }, "keep_activations: expected false, since estimator is evolution_str"],
      [{ ...evolution, token_budget: 9 }, "token_budget: expected 2048, since estimator is evolution_strategies: it"],
      [{ loss_type: "sapo", epsilon_high: 0.3 }, "epsilon_high: expected nothing, since loss_type is sapo: it"],
      [{ loss_type: "cispo", epsilon_high: 5, delta: 9 }, "delta: expected nothing, since loss_type is cispo: it"],
      [
        { multi_objective_aggregation: "normalize_then_sum", scale_rewards: "none" },
        "scale_rewards: expected group, since multi_objective_aggregation is normalize_then_sum: it",
      ],
      [{ sapo_temperature_pos: 2 }, "sapo_temperature_pos: expected 1, since loss_type is dapo: it"],
      [{ use_bias_correction_kl: false }, "use_bias_correction_kl: expected true, since beta is 0: it"],
      [{ sigma: 0.1 }, "sigma: expected nothing, since estimator is policy_gradient: it"],
      [{ fisher_damping: 0.1 }, "fisher_damping: expected nothing, since optim is adamw: it"],
      [{ optim: "sgd", fisher_decay: 0.1 }, "fisher_decay: expected nothing, since optim is sgd: it"],
      [{ eval_answer_column: "a" }, "eval_answer_column: expected nothing, since eval_data is not given: it"],
      [{ eval_data: "mawps", eval_steps: 0 }, "eval_data: expected nothing, since eval_steps is 0: it"],
      [{ eval_examples: 9, eval_steps: 0 }, "eval_examples: expected 100, since eval_steps is 0: it"],
      [{ momentum: 0.9 }, "momentum: expected 0, since optim is adamw: it"],
      [{ optim: "sgd", adam_beta2: 0.99 }, "adam_beta2: expected 0.999, since optim is sgd: it"],
    ];
    for (const [options, message] of cases) expect(() => resolveConfig(options)).toThrow(message);
    const used: Record<string, unknown>[] = [
      { adapter: "lora", r: 8, projection_seed: 3 },
      { adapter: "lora_xs", split: "sqrt", init: "uniform" },
      { v_dtype: "bf16", v_rounding: "stochastic" },
      { loss_type: "sapo", sapo_temperature_neg: 2 },
      { beta: 0.1, use_bias_correction_kl: false },
    ];
    for (const options of used) expect(resolveConfig(options)).toMatchObject(options);
  });

  it("refuses what supervised fine-tuning does not have", () => {
    const refused = (options: TrainOptions) => () => checkMethod("sft", resolveConfig(options));
    expect(refused({ optim: "natural" })).toThrow(/optim: expected adamw or sgd, since the method is sft/);
    expect(refused({ estimator: "evolution_strategies" })).toThrow(
      /estimator: expected policy_gradient, since the method/,
    );
    expect(refused({ optim: "sgd" })).not.toThrow();
  });

  it("knows which options a method uses, and how", () => {
    const keys = fields.map(({ key }) => key);
    const sections = new Set(fields.map(({ section }) => section));
    expect(unusedBy("grpo", keys)).toEqual([]);
    expect(fieldsOf("grpo")).toEqual(fields);
    const unused = unusedBy("sft", keys);
    expect(fieldsOf("sft").map(({ key }) => key)).toEqual(keys.filter((key) => !unused.includes(key)));
    expect(unused).toEqual(expect.arrayContaining(["rewards", "num_generations", "temperature", "beta", "sigma"]));
    for (const key of ["num_prompts", "max_completion_length", "stop", "learning_rate", "v_rounding", "optim"]) {
      expect(unused).not.toContain(key);
    }
    expect(new Set(fieldsOf("sft").map(({ section }) => section))).toEqual(
      new Set([...sections].filter((section) => !["Reward", "Loss"].includes(section))),
    );
    expect(fieldsOf("sft").find(({ key }) => key === "optim")).toMatchObject({ choices: ["adamw", "sgd"] });
    expect(noEffect(["beta"], "sft")).toBe("beta has no effect with sft");
    expect(noEffect(["beta", "delta"], "sft")).toBe("beta, delta have no effect with sft");
  });

  it("names every wrong key at once", () => {
    expect(() => resolveConfig({ u: 0, r: 0 })).toThrow(/r: expected.*; u: expected|u: expected.*; r: expected/);
  });

  it("takes TRL's other spellings of scale_rewards", () => {
    expect(resolveConfig({ scale_rewards: true }).scale_rewards).toBe("group");
    expect(resolveConfig({ scale_rewards: false }).scale_rewards).toBe("none");
  });

  it("is the same after another round", () => {
    const config = resolveConfig({ tying: "tiled", n_tie: 14, beta: 0.01 });
    expect(resolveConfig(JSON.parse(JSON.stringify(config)) as Record<string, unknown>)).toEqual(config);
    expect(adapterOptions(config)).toMatchObject({ r: 2, u: 13, tying: { kind: "tiled", nTie: 14 } });
  });
});

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "tinylora-"));
});
afterAll(() => rm(folder, { recursive: true, force: true }));
const file = async (name: string, text: string) => {
  await writeFile(join(folder, name), text);
  return readConfigFile(join(folder, name));
};

describe("readConfigFile", () => {
  it("reads YAML and JSON", async () => {
    const expected = { learning_rate: 0.001, rewards: ["answer", "format"], system: null };
    expect(await file("a.yaml", "learning_rate: 1e-3 # high\nrewards: [answer, format]\nsystem: null\n")).toEqual(
      expected,
    );
    expect(await file("a.json", JSON.stringify(expected))).toEqual(expected);
    expect(await file("notepad.json", `\uFEFF${JSON.stringify(expected)}`)).toEqual(expected);
    expect(await file("empty.yml", "# nothing yet\n")).toEqual({});
    expect(await file("lists.yaml", "? [a]\n: 1\n? [b]\n: 2\n")).toEqual({ "[ a ]": 1, "[ b ]": 2 });
    expect(await file("no-yaml.json", '\t{\r"u":\r"]"\r}')).toEqual({ u: "]" });
  });

  it("prints no warning of its own", async () => {
    const warnings: Error[] = [];
    const listen = (warning: Error) => warnings.push(warning);
    process.on("warning", listen);
    await file("keys.yaml", "? [1, 2]\n: 3\n");
    await new Promise(setImmediate);
    process.off("warning", listen);
    expect(warnings).toEqual([]);
  });

  it("names file and line of what it cannot read", async () => {
    await expect(file("b.yaml", "u: 3\nr: [1, 2\n")).rejects.toThrow(/b\.yaml: line 3: Flow sequence .* with a \]$/);
    await expect(file("tag.yaml", "u: 3\nmax_steps: !0 5\n")).rejects.toThrow(/tag\.yaml: line 2: Unresolved tag: !0/);
    await expect(file("b.json", "{")).rejects.toThrow(/b\.json: /);
    await expect(file("two.yaml", "u: 3\n---\nu: 4\n")).rejects.toThrow(
      /two\.yaml: line 2: expected one document, found another$/,
    );
    await expect(file("c.yaml", "- 1\n")).rejects.toThrow(/c\.yaml: expected keys and values, found \[1\]/);
    await expect(file("d.txt", "u: 3")).rejects.toThrow(/expected a \.yaml, \.yml or \.json file/);
    const deep = /expected at most 1000 lists and mappings, and 100 in one another/;
    await expect(file("d.yaml", `${"- ".repeat(1e5)}a`)).rejects.toThrow(deep);
    const within = (lists: number) => file("g.yaml", `u:\n  ${"- ".repeat(lists)}a`);
    expect(await within(100)).toHaveProperty("u");
    await expect(within(101)).rejects.toThrow(deep);
    const beside = (lists: number) => file("h.yaml", `u: [${"[],".repeat(lists - 1)}]`);
    expect(await beside(1000)).toHaveProperty("u");
    await expect(beside(1001)).rejects.toThrow(deep);
    await expect(file("e.yaml", `r: ${"[".repeat(1e5)}`)).rejects.toThrow(deep);
    await expect(file("e.json", `{"r": ${"[".repeat(1e4)}${"]".repeat(1e4)}}`)).rejects.toThrow(deep);
    await expect(file("f.yaml", `u: ${"1".repeat(2e6)}`)).rejects.toThrow("at most 1048576 bytes, found 2000003");
    await expect(readConfigFile(join(folder, "none.yaml"))).rejects.toThrow(
      /none\.yaml: cannot be read \(no such file\)/,
    );
    await mkdir(join(folder, "folder.yaml"));
    await expect(readConfigFile(join(folder, "folder.yaml"))).rejects.toThrow("cannot be read (it is a folder)");
  });
});

describe("a key that comes twice in a config file", () => {
  it.each([
    ["twice.json", '{\n\t"u": 1,\n\t"r": 2,\n\t"\\u0075": 3\n}', "line 4: u is there already, in line 2"],
    ["within.json", '{"base": {},\n"grid": {"u": [1],\n\n"u": [2]}}', "line 4: u is there already, in line 2"],
    ["listed.json", '{"grid": [{"u": 1}, {"u": 2,\r\n"u": 3}]}', "line 2: u is there already, in line 1"],
    ["twice.yaml", "u: 1\nr: 2\n'u': 3\n", "line 3: u is there already, in line 1"],
    ["number.yaml", "1: 1\n'1': 2\n", "line 2: 1 is there already, in line 1"],
  ])("is refused: %s", async (name, text, message) => {
    await expect(file(name, text)).rejects.toThrow(
      new TinyLoraError("ERR_CONFIG", `${join(folder, name)}: ${message}`),
    );
  });

  it("is looked for in a moment, however many there are", async () => {
    const many = Object.fromEntries(Array.from({ length: 50_000 }, (_, i) => [`k${i}`, i]));
    const start = performance.now();
    expect(await file("many.json", JSON.stringify(many))).toEqual(many);
    expect(performance.now() - start).toBeLessThan(10_000);
  });
});

describe("fields", () => {
  it("describe every option, and their defaults are valid", () => {
    expect(fields.length).toBe(Object.keys(resolveConfig({})).length);
    for (const field of fields) {
      expect(field.description, field.key).not.toBe("");
      expect(field.flag).toBe(`--${field.key.replaceAll("_", "-")}`);
    }
    expect(resolveConfig(Object.fromEntries(fields.map(({ key, default: value }) => [key, value])))).toEqual(
      resolveConfig({}),
    );
  });

  it("know the type of each option", () => {
    const typeOf = (key: string) => fields.find((field) => field.key === key)!.type;
    expect(
      [
        "u",
        "seed",
        "learning_rate",
        "loss_type",
        "beta",
        "rewards",
        "system",
        "use_bias_correction_kl",
        "scale_rewards",
      ].map(typeOf),
    ).toEqual(["integer", "integer", "number", "choice", "number", "list", "string", "boolean", "choice"]);
  });

  it("read flags; what they cannot read is left to the schema", () => {
    const field = (key: string) => fields.find((one) => one.key === key)!;
    expect(parseFlag(field("learning_rate"), "1e-3")).toBe(0.001);
    expect(parseFlag(field("learning_rate"), "fast")).toBe("fast");
    expect(parseFlag(field("rewards"), "answer, format")).toEqual(["answer", "format"]);
    expect(parseFlag(field("reward_weights"), "1,0.5")).toEqual([1, 0.5]);
    expect(parseFlag(field("use_bias_correction_kl"), "false")).toBe(false);
    expect(parseFlag(field("model"), "7")).toBe("7");
  });
});

describe("environment", () => {
  it("reads one prefix; empty is unset", () => {
    expect(environment({ TINYLORA_MODEL: "m", TINYLORA_DATA: "" })).toMatchObject({ model: "m", data: undefined });
  });
});

describe("nearest", () => {
  it("finds the word that was meant", () => {
    expect(nearest("adam", ["sgd", "adamw"])).toBe("adamw");
    expect(nearest("x", [])).toBe("");
    const long = `adamx${"w".repeat(2 ** 20)}`; // as long as a file of options may be
    expect(
      nearest(
        long,
        Array.from({ length: 100 }, (_, i) => `${"adam".repeat(9)}${i}`),
      ),
    ).toMatch(/^adam/);
  });
});
