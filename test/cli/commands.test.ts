// What commands print and refuse that needs no process of its own: each is run here, with what it says caught.
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import { benchCommand } from "../../bin/commands/bench.js";
import { exportCommand } from "../../bin/commands/export.js";
import { generateCommand } from "../../bin/commands/generate.js";
import { infoCommand } from "../../bin/commands/info.js";
import { plotCommand } from "../../bin/commands/plot.js";
import { replayCommand } from "../../bin/commands/replay.js";
import { scoreCommand } from "../../bin/commands/score.js";
import { sweepCommand } from "../../bin/commands/sweep.js";
import { sftCommand, trainCommand } from "../../bin/commands/train.js";
import { Adapter, describeModel, Engine, planSweep } from "../../lib/index.js";
import { ok, run } from "./in-process.js";
import { lines, ROOT } from "./run.js";
import { tinyWorld } from "./tiny-world.js";

let folder: string;
let model: string;
let engine: Engine;
let remove: () => Promise<void>;
beforeAll(async () => {
  ({ folder, model, engine, remove } = await tinyWorld());
});
afterAll(() => remove());

describe("info", () => {
  it("counts what full fine-tuning trains, and its bytes", async () => {
    const path = join(ROOT, "test", "golden", "models", "qwen2"); // it has gains and biases, and a head of its own
    const { tensors } = await describeModel(path);
    const count = (list: typeof tensors) =>
      list.reduce((sum, { shape }) => sum + shape.reduce((product, size) => product * size, 1), 0);
    const all = count(tensors);
    const vectors = count(tensors.filter(({ shape }) => shape.length === 1));
    const grouped = (value: number) => value.toLocaleString("en-US");
    const text = await ok(infoCommand, "--model", path, "--adapter", "full");
    expect(text).toContain(`\n  ${grouped(all)} parameters, vocabulary of `);
    expect(text).toContain(", embeddings untied\n");
    expect(text).toContain(
      `Full fine-tuning\n  ${grouped(all)} trained numbers in ${tensors.length} tensors, ${grouped(2 * (all - vectors) + 4 * vectors)} bytes when saved (matrices in bf16, gains and biases in fp32); ${grouped(16 * all)} bytes of masters, `,
    );
    const down = tensors.filter(({ name }) => name.endsWith("down_proj.weight"));
    const part = ["--model", path, "--adapter", "full", "--target-modules", "down_proj"];
    const { adapter, parameters } = JSON.parse(await ok(infoCommand, ...part, "--json"));
    expect(adapter).toEqual({ kind: "full" });
    const [trained, bytes] = [count(down), 2 * count(down)];
    expect(parameters).toEqual({ tensors: down.length, trained, bytes, dtype: "bf16" });
  });

  it("tells the modules of an adapter, and how its v is shared", async () => {
    const text = await ok(infoCommand, "--u", "4", "--tying", "tiled", "--n-tie", "7", "--target-modules", "q_proj");
    expect(text).toMatch(
      /^Model {2}.*\(Hugging Face, F32\)\n {2}llama, 2 layers of width 32, 4 heads \(2 of keys\) of 8/,
    );
    expect(text).toMatch(/, context 2048\n {2}[\d,]+ parameters, vocabulary of 258, embeddings tied\n/);
    expect(text).toMatch(/\nAdapter {2}tinylora, r 2, u 4, tying .*, P normal from seed \d+\n/);
    expect(text).toMatch(
      / 4 trained numbers \(1 tie group\), 16 bytes in fp32; 2 modules of 2,048 weights; [\d,]+ frozen/,
    );
    expect(text).toMatch(/\n {2}module +count +out x in +groups +frozen\n {2}q_proj +2 +32 x 32 +1 +\d+\n\nMachine/);
    expect(text).toMatch(/\nMachine {2}.*, \d+ cores\n {2}instruction sets .*; devices cpu, /);
    expect(await ok(infoCommand, "--tying", "none")).toContain("(14 tie groups)");
    expect(await ok(infoCommand, "--adapter", "lora_xs")).toMatch(/\nAdapter {2}lora_xs, r 2, u 4, .*, P unit\n/);
  });

  it("tells the numbers of a given adapter, of many the first", async () => {
    const few = Adapter.create(engine, { u: 3 }).withVector(Float32Array.of(0.25, -1 / 3, 1e-5));
    const text = await ok(infoCommand, "--adapter", String(few));
    expect(text).toContain(`  base model ${engine.fingerprint}, v = [0.25, -0.3333, 0.00001]\n`);
    const many = Adapter.create(engine, { u: 65 }).withVector(new Float32Array(65).fill(0.5));
    const head = `[${Array(64).fill("0.5").join(", ")}, ...]\n`;
    expect(await ok(infoCommand, "--adapter", String(many))).toContain(head);
    const lora = join(folder, "lora");
    await Adapter.create(engine, { kind: "lora", r: 2 }).save(lora);
    expect(await ok(infoCommand, "--adapter", lora)).toMatch(
      new RegExp(
        ` numbers in A and B, [\\d,]+ bytes in fp32; 14 modules of [\\d,]+ weights\n {2}base model ${engine.fingerprint}, scale [\\d.]+\n {2}module +count +out x in\n`,
      ),
    );
  });
});

describe("export", () => {
  it("writes a model with the adapter in its weights, and says what rounding does", async () => {
    const adapter = String(Adapter.create(engine, { u: 2 }).withVector(Float32Array.of(0.5, -0.25)));
    const output = join(folder, "merged");
    const args = ["--adapter", adapter, "--format", "merged", "--threads", "1", "--output"];
    const { code, stdout, stderr } = await run(exportCommand, ...args, output);
    expect(code, stderr).toBe(0);
    expect(stdout).toBe(`${output}\n`);
    const module = "\\(model\\.layers\\.\\d\\.\\w+\\.\\w+_proj\\)";
    expect(stderr).toMatch(
      new RegExp(
        `^rounded to bf16, weights move by \\d\\.\\d\\de-\\d at most ${module}, a module by \\d\\.\\d\\de-\\d of its norm ${module}, and an update by \\d+\\.\\d\\d % of its own ${module}\\n$`,
      ),
    );
    expect((await describeModel(output)).tensors).toHaveLength(engine.model.tensors.length);
    const again = await run(exportCommand, ...args, output);
    expect([again.code, again.stderr]).toEqual([
      1,
      expect.stringContaining("merged: expected a folder that is not there yet, found a folder"),
    ]);
  });

  it("writes plain LoRA over what was there, and says what rounding does", async () => {
    const adapter = String(Adapter.create(engine, { u: 2 }).withVector(Float32Array.of(0.5, -0.25)));
    for (let time = 0; time < 2; time++) {
      const args = ["--adapter", adapter, "--threads", "1", "--output", join(folder, "plain")];
      const { code, stderr } = await run(exportCommand, ...args);
      expect(stderr).toMatch(/^rounded to bf16, as an engine may do, the update moves by \d\.\d{3} % at most\n$/);
      expect(code).toBe(0);
    }
  });

  it("names a file of llama.cpp by its ending", async () => {
    const adapter = String(Adapter.create(engine, { u: 1 }));
    const args = ["--adapter", adapter, "--format", "gguf", "--output", join(folder, "lora.bin")];
    const { code, stderr } = await run(exportCommand, ...args);
    expect(stderr).toMatch(/^error: --output: expected a \.gguf file for --format gguf, found ".*lora\.bin"\n$/);
    expect(code).toBe(2);
  });
});

describe("generate", () => {
  const answer = (...flags: string[]) =>
    ok(generateCommand, "--max-completion-length", "8", "--threads", "1", ...flags, "hello");

  it("reads --system before the prompt", async () => {
    const plain = await answer("--temperature", "0");
    expect(plain).toMatch(/.\n$/);
    expect(await answer("--temperature", "0", "--system", "Be brief, and sum.")).not.toBe(plain);
  });

  it("names the flag of a cache that the completion does not fit in", async () => {
    const { code, stderr } = await run(
      generateCommand,
      "--cache-tokens",
      "64",
      "--max-completion-length",
      "99",
      "hello",
    );
    expect(stderr).toMatch(/^error: prompt 0: .* the 64 positions of the cache \(cache_tokens\) and the last token/);
    expect(code).toBe(1);
  });

  it("takes the likeliest tokens where flags of sampling leave no other", async () => {
    const plain = await answer("--temperature", "0");
    for (const seed of ["1", "2"]) expect(await answer("--seed", seed)).not.toBe(plain);
    for (const flags of [
      ["--top-k", "1"],
      ["--top-p", "1e-6"],
      ["--min-p", "1"],
      ["--temperature", "1e-3"],
    ]) {
      expect(await answer(...flags), flags[0]).toBe(plain);
    }
    expect(await answer("--temperature", "0", "--stop", plain.slice(2, 4))).not.toContain(plain.slice(4));
  });
});

it("score reads one file and writes another, and names the place of what is wrong", async () => {
  const [input, output] = [join(folder, "texts.json"), join(folder, "scores.json")];
  const roles = ["system", "user", "assistant"].map((role) => ({ role, content: role }));
  await writeFile(input, JSON.stringify(["ab", [97, 98], roles]));
  expect(await ok(scoreCommand, "--input", input, "--output", output, "--threads", "1")).toBe("");
  const [text, ids, chat] = JSON.parse(await readFile(output, "utf8"));
  expect(chat.tokens.length).toBeGreaterThan("system, user, assistant".length);
  expect(ids).toEqual(text);
  expect(text).toMatchObject({ tokens: [97, 98], logprobs: [null, expect.any(Number)] });
  for (const [json, message] of [
    ['["ab", ["a"]]', '[1]: expected a text, a list of token ids or a list of messages, found ["a"]'],
    ['{"text": "ab"}', 'expected a list of sequences, found {"text":"ab"}'],
  ] as const) {
    await writeFile(input, json);
    const wrong = await run(scoreCommand, "--input", input);
    expect([wrong.code, wrong.stderr]).toEqual([2, `error: ${input}: ${message}\n`]);
  }
});

it("info refuses flags that describe an adapter beside one that is there", async () => {
  const adapter = String(Adapter.create(engine, { u: 2 }).withVector(Float32Array.of(0.5, -0.25)));
  const { code, stderr } = await run(infoCommand, "--adapter", adapter, "--u", "3", "--n-tie", "2", "--tying", "tiled");
  expect(code).toBe(2);
  expect(stderr).toBe(`error: --u, --tying, --n-tie: no effect beside --adapter ${adapter}, which has its own\n`);
  expect(await ok(infoCommand, "--adapter", "lora_xs", "--r", "3")).toMatch(/^Adapter {2}lora_xs, r 3/m);
});

it("bench refuses the reference, which nobody waits for", async () => {
  const { code, stderr } = await run(benchCommand, "--device", "reference");
  expect([code, stderr]).toEqual([1, "error: --device: the reference is not timed\n"]);
});

it("bench --whole times the model that its products are of, and has no times on the stand-in", async () => {
  const { whole } = JSON.parse(await ok(benchCommand, "--whole", "--rows", "2,600", "--seconds", "0", "--json"));
  expect(whole.map(({ what, rows }: { what: string; rows: number }) => `${what} ${rows}`)).toEqual([
    "decode step 2",
    "training forward 600",
    "training backward 600",
  ]);
  for (const { seconds, gflops, gbytes, share } of whole) {
    for (const one of [seconds, gflops, gbytes, share]) expect(one).toBeGreaterThan(0);
  }
  const { code, stderr } = await run(benchCommand, "--whole", "--device", "cudasim");
  expect([code, stderr]).toEqual([2, "error: --whole: expected another device, cudasim has no times\n"]);
});

describe("train", () => {
  it("lets a resumed run keep its options", async () => {
    const resume = ["--resume", "runs/a", "--config", "a.yaml", "--run", "runs/b", "--seed", "1", "--max-steps", "2"];
    const { code, stderr } = await run(trainCommand, ...resume);
    expect(stderr).toBe(
      "error: --resume: the run has its own seed, config, folder; only model, device, threads, max_sequences, cache_tokens, max_steps, gradient_checkpointing, keep_activations can be given\n",
    );
    expect(code).toBe(2);
  });

  it("prints the string of an adapter that is short enough to paste, and the folder of every one", async () => {
    const common = ["--data", "gsm8k", "--shots", "0", "--num-prompts", "1", "--max-steps", "1", "--eval-steps", "0"];
    const few = await run(sftCommand, ...common, "--u", "13", "--run", join(folder, "few"), "--threads", "1");
    expect(few.code, few.stderr).toBe(0);
    expect(few.stderr).toBe(`training tinylora of ${model} on gsm8k: ${join(folder, "few")}\n`);
    expect(few.stdout).toMatch(
      /^step 1\/1 {2}loss [\d.]+ {2}grad [\d.e-]+ {2}s [\d.e-]+\nadapter .*few\/adapter\n {8}tl1-\S+\n$/,
    );
    const many = ["--u", "200", "--max-steps", "10", "--run", join(folder, "many"), "--threads", "1"];
    const text = await ok(sftCommand, ...common, ...many);
    expect(text).toMatch(/^step {2}1\/10 {2}loss [\s\S]*\nstep 10\/10 {2}loss .*\nadapter .*many\/adapter\n$/);
  });

  it("replays a step that was made, and tells of others before a model is loaded", async () => {
    const to = join(folder, "few-steps");
    const common = ["--data", "gsm8k", "--shots", "0", "--num-prompts", "1", "--max-steps", "1", "--eval-steps", "0"];
    await ok(sftCommand, ...common, "--run", to, "--threads", "1");
    expect(await ok(replayCommand, to, "--step", "1", "--threads", "1")).toMatch(/^the same bits$/m);
    const later = await run(replayCommand, to, "--step", "2", "--model", "nowhere");
    expect([later.code, later.stderr]).toEqual([1, `error: ${to}: step: expected 1 to 1, found 2\n`]);
  });

  it("tells what does not fit the model's files before its weights are read", async () => {
    const refused = async (...args: string[]) =>
      (await run(trainCommand, "--model", model, "--data", "gsm8k", ...args)).stderr;
    const open = join(folder, "no-answers.jsonl");
    await writeFile(open, JSON.stringify({ question: "Say a number." }));
    vi.spyOn(Engine, "load").mockRejectedValue(new Error("the weights were read first"));
    try {
      expect(await refused("--start-from", "nowhere")).toMatch(/^error: nowhere: no such adapter/);
      expect(await refused("--cache-tokens", "32")).toMatch(
        /^error: cache_tokens: expected at least \d+ for the prompt/,
      );
      expect(await refused("--shots", "0", "--max-completion-length", "4")).toMatch(/the weights were read first/);
      const short = ["--data", open, "--shots", "0", "--max-completion-length", "4"];
      expect(await refused(...short)).toMatch(/no-answers\.jsonl\/1: expected an answer in answer, /);
      expect(await refused(...short, "--rewards", "digits")).toMatch(/the weights were read first/);
      const lessons = await run(sftCommand, "--model", model, "--data", "gsm8k", "--shots", "0", "--token-budget", "9");
      expect(lessons.stderr).toMatch(/^error: token_budget: expected at least \d+ for the prompt and the answer of /);
    } finally {
      vi.restoreAllMocks();
    }
  });

  it("names the folder of a run after its data and the time, where none is given", async () => {
    const data = join(folder, "some.sums.jsonl");
    await writeFile(data, JSON.stringify({ question: "1 + 1?", solution: "2", answer: "2" }));
    const before = process.cwd();
    process.chdir(folder);
    try {
      const few = ["--data", data, "--shots", "0", "--num-prompts", "1", "--max-steps", "1", "--eval-steps", "0"];
      const { code, stderr } = await run(sftCommand, ...few, "--threads", "1");
      expect(code, stderr).toBe(0);
      expect(stderr).toMatch(/^training tinylora of .* on .*: runs\/some\.sums-20\d{6}-\d{6}\n$/);
    } finally {
      process.chdir(before);
    }
  });
});

describe("sweep", () => {
  const write = async (name: string, grid: string) => {
    const file = join(folder, name);
    const sizes = "num_prompts: 2, num_generations: 2, max_completion_length: 4, max_steps: 1, eval_steps: 1";
    const base = `data: gsm8k, shots: 0, threads: 1, eval_examples: 2, rewards: [digits], ${sizes}`;
    await writeFile(file, `base: { ${base} }\ngrid: { ${grid} }\n`);
    return file;
  };

  it("lists its members in a dry run", async () => {
    const one = await run(sweepCommand, await write("one.yaml", "u: [1]"), "--dry-run");
    expect([one.code, one.stderr]).toEqual([0, `1 member of ${model} on gsm8k, max_steps 1\n`]);
    const two = await run(sweepCommand, await write("two.yaml", "u: [1, 2]"), "--dry-run");
    expect(two.stderr).toBe(`2 members of ${model} on gsm8k, max_steps 1\n`);
    expect(lines(two.stdout)).toEqual([expect.stringContaining("u=1"), expect.stringContaining("u=2")]);
  });

  it("tells what its members came to, and which failed", async () => {
    const file = await write("some.yaml", "token_budget: [2048, 4096], learning_rate: [0.01]");
    const to = join(folder, "some");
    const [first] = (await planSweep(file)).members;
    const damaged = join(to, "members", first!.name);
    await mkdir(damaged, { recursive: true });
    await writeFile(join(damaged, "config.json"), "{");
    const { code, stdout, stderr } = await run(sweepCommand, file, "--folder", to, "--population", "1");
    expect(lines(stderr)[0]).toBe(`2 members of ${model} on gsm8k, max_steps 1: ${to}`);
    expect(stderr).toMatch(/^1\/2 failed \S*token_budget=2048\b.*: .*config\.json: not the config of a run$/m);
    expect(stderr).toContain(
      `error: 1 of 2 members failed: ${to}/results.md tells why; the same command tries them again`,
    );
    expect(code).toBe(1);
    expect(stdout).toMatch(/^2\/2 finished /m);
    expect(stdout).not.toContain("side by side");
    expect(stdout).toMatch(
      /^token_budget +parameters +base +learning_rate +accuracy\n +2048( +-){4}\n +4096 +13 +0\.0 % +0\.01 +0\.0 %\n/m,
    );
    expect(stdout).toContain(`\n${to}/results.md\nplots: npx tinylora-native plot ${to}\n`);
    const plot = await run(plotCommand, to, "--by", "token_budget");
    expect(plot.stderr).toMatch(
      /^error: by: token_budget: expected an option with two finished values in the sweep: here none yet\n$/,
    );
    expect(plot.code).toBe(2);
  });
});
