import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { decodeSafetensors, encodeSafetensors } from "../../lib/adapter/safetensors.js";
import { writeTinyModel } from "../tiny-model.js";
import { lines, runCli } from "./run.js";

let folder: string;
let env: NodeJS.ProcessEnv;
let train: string[];
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "tinylora-cli-"));
  env = { TINYLORA_MODEL: await writeTinyModel(join(folder, "model")), TINYLORA_CACHE: join(folder, "cache") };
  const data = join(folder, "sums.jsonl");
  const rows = Array.from({ length: 12 }, (_, i) =>
    JSON.stringify({ question: `What is ${i} + 1?`, answer: String(i + 1) }),
  );
  await writeFile(data, rows.join("\n"));
  train = [
    "train",
    "--data",
    data,
    "--num-prompts",
    "2",
    "--num-generations",
    "2",
    "--max-completion-length",
    "8",
    "--threads",
    "1",
  ];
  train.push("--rewards", await lengthReward(), "--eval-steps", "0", "--learning-rate", "0.01");
});
afterAll(() => rm(folder, { recursive: true }));

/** Differs from completion to completion, so that there is a gradient. */
async function lengthReward(): Promise<string> {
  const file = join(folder, "reward.mjs");
  await writeFile(file, "export default (completion) => ((completion.charCodeAt(0) || 0) % 7) / 7;\n");
  return file;
}

async function ok(args: readonly string[], input = ""): Promise<string> {
  const { code, stdout, stderr } = await runCli(args, { env, input });
  expect(stderr).not.toContain("error");
  expect(code).toBe(0);
  return stdout;
}

describe("with a model", () => {
  it("info counts what would be trained", async () => {
    const { parameters, model } = JSON.parse(
      await ok(["info", "--json", "--u", "4", "--tying", "tiled", "--n-tie", "7"]),
    );
    expect(parameters).toMatchObject({ trained: 8, groups: 2, modules: 14 });
    expect(model).toMatchObject({ family: "llama", layers: 2 });
    expect(await ok(["info"])).toContain("13 trained numbers (1 tie group), 52 bytes in fp32");
    const lora = await ok(["info", "--adapter", "lora", "--r", "4"]);
    expect(lora).toMatch(/Adapter {2}lora, r 4\n {2}[\d,]+ trained numbers in A and B, /);
    expect(lora).not.toMatch(/tying|tie group|frozen|\bP\b/);
  });

  it("what a reward writes goes to standard error, beside the progress", async () => {
    const file = join(folder, "talking.mjs");
    await writeFile(file, 'export default () => { console.log("one completion"); return 1; };\n');
    const talking = [...train, "--rewards", file, "--max-steps", "1", "--run", join(folder, "talking")];
    const { code, stdout, stderr } = await runCli(talking, { env });
    expect(code, stderr).toBe(0);
    expect(stderr.match(/^one completion$/gm)).toHaveLength(4);
    expect(stdout).not.toContain("one completion");
  });

  it("info counts the parameters that are used: a tied head once", async () => {
    const path = await writeTinyModel(join(folder, "with-head"));
    const count = async () => JSON.parse(await ok(["info", "--json", "--model", path])).model.parameters;
    const before = await count();
    const file = join(path, "model.safetensors");
    const tensors = decodeSafetensors(await readFile(file), file).tensors;
    tensors.set("lm_head.weight", tensors.get("model.embed_tokens.weight")!);
    await writeFile(file, encodeSafetensors(tensors));
    expect(await count()).toBe(before);
  });

  it("info needs no more than config.json", async () => {
    const path = await writeTinyModel(join(folder, "described"));
    const table = async () => JSON.parse(await ok(["info", "--json", "--model", path])).parameters;
    const before = await table();
    await rm(join(path, "model.safetensors"));
    await rm(join(path, "tokenizer.json"));
    expect(await table()).toEqual(before);
    expect(await ok(["info", "--model", path])).toContain("(Hugging Face, config.json alone, no weights)");
  });

  it("score takes texts, ids and messages, and gives JSON", async () => {
    const output = await ok(["score"], JSON.stringify(["ab", [97, 98], [{ role: "user", content: "a" }]]));
    const [text, ids, chat] = JSON.parse(output);
    expect(text).toEqual(ids);
    expect(text.tokens).toEqual([97, 98]);
    expect(text.logprobs[0]).toBeNull();
    expect(text.logprobs[1]).toBeLessThan(0);
    expect(chat.tokens.length).toBeGreaterThan(3);
  });

  it("generate is the same with the same seed", async () => {
    const args = ["generate", "--max-completion-length", "10", "--seed", "3", "--text"];
    const first = await ok([...args, "hello"]);
    expect(first.length).toBeGreaterThan(1);
    expect(await ok(args, "hello\n")).toBe(first);
  });

  it("trains, resumes to the same bits, and uses what it made", async () => {
    const straight = join(folder, "straight");
    const resumed = join(folder, "resumed");
    await ok([...train, "--max-steps", "3", "--run", straight]);
    await ok([...train, "--max-steps", "1", "--run", resumed]);
    await ok(["train", "--resume", resumed, "--max-steps", "3"]);
    const v = async (run: string) => readFile(join(run, "adapter", "adapter.safetensors"));
    expect(await v(resumed)).toEqual(await v(straight));
    const metrics = lines(await readFile(join(straight, "metrics.jsonl"), "utf8")).map((line) => JSON.parse(line));
    for (const step of metrics) expect(step["sampling/max_abs_dlogp"]).toBe(0);

    const described = JSON.parse(await ok(["info", "--json", "--adapter", straight]));
    expect(described.adapter.v.some((value: number) => value !== 0)).toBe(true);
    const finished = await runCli(["train", "--resume", straight], { env });
    expect(finished.stderr).toContain("nothing to do: the run has made its 3 steps");
    const short = lines(finished.stdout).at(-1)!.trim();
    const input = JSON.stringify(["some text"]);
    const scored = await ok(["score", "--adapter", straight], input);
    expect(await ok(["score", "--adapter", short], input)).toBe(scored);
    expect(await ok(["score"], input)).not.toBe(scored);
    const evaluation = JSON.parse(
      await ok([
        "eval",
        "--data",
        train[2]!,
        "--split",
        "train",
        "--adapter",
        short,
        "--max-completion-length",
        "8",
        "--samples",
        "2",
        "--k",
        "1,2",
        "--json",
      ]),
    );
    expect(evaluation).toMatchObject({ samples: 2, passAtK: [{ k: 1 }, { k: 2 }] });
  });

  it("eval leaves out what has no room in the model's context, or ends with it", async () => {
    const args = ["eval", "--model", "embedded", "--data", "embedded", "--shots", "2", "--limit", "8"];
    args.push("--max-completion-length", "1", "--threads", "1", "--json");
    const refused = await runCli(args, { env });
    expect(refused.stderr).toMatch(/^error: embedded\/\d+: the prompt's \d+ tokens/);
    const { code, stdout, stderr } = await runCli([...args, "--skip-bad"], { env });
    const [, left] = /^warning: embedded: (\d) problems left out, the first: embedded\/\d+: the prompt's/.exec(stderr)!;
    expect(code).toBe(0);
    expect(JSON.parse(stdout).problems).toBe(8 - Number(left));
  });

  it("eval compares two adapters, by level, and reports", async () => {
    const run = join(folder, "compared");
    await ok([...train, "--max-steps", "1", "--run", run]);
    const data = join(folder, "levels.jsonl");
    const rows = Array.from({ length: 5 }, (_, i) => JSON.stringify({ text: `What is ${i}?`, gold: i, level: i % 2 }));
    await writeFile(data, [...rows, "{broken"].join("\n"));
    const files = ["--report", join(folder, "report.md"), "--output", join(folder, "all.jsonl")];
    const args = [
      "eval",
      "--data",
      data,
      "--split",
      "train",
      "--adapter",
      join(run, "adapter"),
      "--compare",
      "base",
      "--shots",
      "0",
    ];
    const columns = ["--question-column", "text", "--answer-column", "gold"];
    args.push(...columns, "--samples", "2", "--k", "1,2", "--max-completion-length", "8", "--threads", "1");
    const refused = await runCli(args, { env });
    expect(refused.stderr).toMatch(/^error: .*levels\.jsonl:6: broken JSON/);
    expect(refused.code).toBe(1);
    const { code, stdout, stderr } = await runCli([...args, "--skip-bad", "--json", ...files], { env });
    expect(stderr).toMatch(/^warning: .*levels\.jsonl: 1 broken rows left out, the first: .*levels\.jsonl:6/);
    expect(stderr).toContain(`\nwarning: ${join(run, "adapter")} was trained with shots 2, here 0\n`);
    expect(code).toBe(0);
    const result = JSON.parse(stdout);
    expect(result).toMatchObject({
      samples: 2,
      majAtK: [{ k: 1 }, { k: 2 }],
      sampling: { temperature: 1, seed: 42, shots: 0 },
    });
    expect(result.compare).toMatchObject({ adapter: "base", difference: { problems: result.problems } });
    const completions = lines(await readFile(join(folder, "all.jsonl"), "utf8")).map((line) => JSON.parse(line));
    expect(completions).toHaveLength(4 * result.problems);
    expect(new Set(completions.map(({ adapter }) => adapter))).toEqual(new Set([join(run, "adapter"), "base"]));
    expect(await readFile(join(folder, "report.md"), "utf8")).toContain("Paired difference: ");
    const plain = await ok([...args, "--skip-bad"]);
    expect(plain).toMatch(/^difference {2}[+-]\d+\.\d\d % /m);
  });

  it("export and import give the same adapter back", async () => {
    const run = join(folder, "exported");
    await ok([...train, "--max-steps", "1", "--run", run, "--split", "sqrt"]);
    const out = (name: string) => join(folder, name);
    const write = async (...args: string[]) => ok(["export", "--adapter", run, "--threads", "1", ...args]);
    expect(await write("--format", "peft", "--output", out("peft"))).toBe(`${out("peft")}\n`);
    await write("--output", out("lora"));
    await write("--format", "gguf", "--output", out("lora.gguf"));
    expect((await readFile(out("lora.gguf"))).subarray(0, 4).toString()).toBe("GGUF");
    expect(JSON.parse(await readFile(join(out("lora"), "adapter_config.json"), "utf8")).lora_alpha).toBe(2);
    await ok(["import", out("peft"), "--output", out("back"), "--threads", "1"]);
    const input = JSON.stringify(["some text"]);
    expect(await ok(["score", "--adapter", out("back")], input)).toBe(await ok(["score", "--adapter", run], input));
    await ok(["import", out("lora"), "--output", out("plain"), "--threads", "1"]);
    const [plain] = JSON.parse(await ok(["score", "--adapter", out("plain")], input));
    const [trained] = JSON.parse(await ok(["score", "--adapter", run], input));
    for (let i = 1; i < trained.logprobs.length; i++) expect(plain.logprobs[i]).toBeCloseTo(trained.logprobs[i], 2);
    await writeFile(join(out("lora"), "adapter_config.json"), '{ "peft_type": "LOHA" }');
    const { code, stderr } = await runCli(["import", out("lora"), "--output", out("never")], { env });
    expect(stderr).toMatch(/^error: .*peft_type: expected LORA or TINYLORA, found "LOHA"/);
    expect(code).toBe(1);
  });

  it("replays steps, by either method, and says where a bit differs", async () => {
    const run = join(folder, "replayed");
    const last = ["--max-steps", "2", "--run", run];
    await ok([...train, ...last, "--optim", "natural", "--fisher-damping", "0.1"]);
    const told = await ok(["replay", run, "--step", "2", "--threads", "2"]);
    expect(told).toMatch(/completions +4 compared .*: all the same/);
    expect(lines(told).at(-1)).toBe("the same bits");

    const missing = await runCli(["replay", run, "--step", "3"], { env });
    expect([missing.code, missing.stderr]).toEqual([1, `error: ${run}: step: expected 1 to 2, found 3\n`]);
    const elsewhere = await runCli(["replay", run, "--step", "1", "--device", "reference"], { env });
    expect(elsewhere.stderr).toMatch(/expected the arithmetic of cpu \(.*\), found reference/);
    expect(elsewhere.code).toBe(1);
    const path = join(run, "completions", "step-1.jsonl");
    await writeFile(path, (await readFile(path, "utf8")).replace(/"digest":"./, '"digest":"x'));
    const changed = await runCli(["replay", run, "--step", "1"], { env });
    expect(changed.stdout).toContain("    completion 1: digest\n");
    expect(changed.stdout).toMatch(/\n {2}metrics +(\d+) compared \(of the step\): all the same\n/);
    expect(changed.stderr).toContain("step 1 differs from what the run kept");
    expect(changed.code).toBe(1);
    await writeFile(join(run, "metrics.jsonl"), '{"step":1}\n');
    const { stdout } = await runCli(["replay", run, "--step", "1"], { env });
    const [, compared] = /\n {2}metrics +(\d+) compared \(of the step\): \1 differ\n/.exec(stdout)!;
    expect(stdout.match(/^ {4}\S+: expected undefined, found \S+$/gm)).toHaveLength(5);
    expect(stdout).toContain(`\n    and ${Number(compared) - 5} more\n`);

    const sft = join(folder, "lessons");
    const lessons = ["sft", "--data", join(folder, "sums.jsonl"), "--num-prompts", "2", "--eval-steps", "0"];
    await ok([...lessons, "--max-steps", "1", "--run", sft, "--threads", "1"]);
    expect(await ok(["train", "--resume", sft, "--max-steps", "2"])).toContain("step 2/2  loss");
    expect(lines(await ok(["replay", sft, "--step", "2"])).at(-1)).toBe("the same bits");
  });

  it("takes a run that trained the weights for its model, and wants answers to compare with", async () => {
    const run = join(folder, "whole");
    const lessons = ["sft", "--data", join(folder, "sums.jsonl"), "--num-prompts", "2", "--eval-steps", "0"];
    await ok([...lessons, "--adapter", "full", "--max-steps", "1", "--run", run, "--threads", "1"]);
    expect(await ok(["info", "--model", run])).toContain(join(run, "model"));
    const open = join(folder, "open.csv");
    await writeFile(open, "question,result\n1 + 1?,2\n2 + 2?,4\n");
    const { code, stderr } = await runCli(["eval", "--model", run, "--data", open, "--split", "train"], { env });
    expect(stderr).toContain("expected an answer in answer, target");
    expect(stderr).toContain("found only question, result: answer_column names another column");
    expect(code).toBe(1);
  });

  it("refuses a run that trained an adapter as a model, and the base model compared with itself", async () => {
    const run = join(folder, "adapted");
    await ok([...train, "--max-steps", "1", "--run", run]);
    const taken = await runCli(["info", "--model", run], { env });
    expect(taken.stderr).toBe(`error: ${run}: expected a model, found a run that trained an adapter of one\n`);
    expect(taken.code).toBe(1);
    const same = await runCli(["eval", "--compare", "base", "--data", join(folder, "sums.jsonl")], { env });
    expect(same.stderr).toBe("error: --compare: base is what is evaluated without --adapter; give that too\n");
    expect(same.code).toBe(2);
    const twice = ["--samples", "2", "--k", "2,2", "--split", "train", "--shots", "0", "--max-completion-length", "4"];
    const told = await ok(["eval", "--data", join(folder, "sums.jsonl"), ...twice]);
    expect(told.match(/pass@2/g)).toHaveLength(1);
  });

  it("refuses another model's adapter, a run that is there, and flags that a resumed run has of its own", async () => {
    const run = join(folder, "mine");
    await ok([...train, "--max-steps", "1", "--run", run]);
    const other = await writeTinyModel(join(folder, "other"), 2);
    for (const [args, message, expected] of [
      [["score", "--model", other, "--adapter", run], "made for another base model", 1],
      [[...train, "--run", run], "holds a run already", 1],
      [["train", "--resume", run, "--learning-rate", "1"], "--resume: the run has its own learning_rate", 2],
    ] as const) {
      const { code, stderr } = await runCli(args, { env, input: "[]" });
      expect(stderr).toContain(message);
      expect(code).toBe(expected);
    }
  });
});

describe("Ctrl-C", () => {
  it("leaves a run that goes on, with exit code 130", async () => {
    const run = join(folder, "interrupted");
    const { code, stderr } = await runCli([...train, "--max-steps", "100000", "--run", run], {
      env,
      interruptAfter: " 2/100000",
    });
    expect(stderr).toContain(`go on with \`npx tinylora-native train --resume ${run}\``);
    expect(code).toBe(130);
    const steps = lines(await readFile(join(run, "metrics.jsonl"), "utf8")).length;
    expect(await ok(["train", "--resume", run, "--max-steps", String(steps + 1)])).toContain(
      `step ${steps + 1}/${steps + 1}`,
    );
  });
});
