import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { fields } from "../../lib/config/fields.js";
import { rewards } from "../../lib/reward/rewards.js";
import { cudasimLibrary, cudasimTitle, hasCudasim, hasNvcc, nvccMajor } from "../cudasim/build.js";
import { lines, ROOT, runCli } from "./run.js";

const COMMANDS = [
  ...["start", "train", "sft", "sweep", "replay", "plot", "eval", "generate", "score", "export", "import", "info"],
  "bench",
];
/** Of the embedded model, though none is asked here. */
const ADAPTER = "tl1-AAMAfwINAQCdKJlZeHv5FCoSAzs-EgM7SxIDu1oSA7s7EgO7VRIDO8oRAzteEgM7FxIDO2cSA7tjEgM7ZRIDO2cSAzukrhHr";
let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "tinylora-cli-"));
});
afterAll(() => rm(folder, { recursive: true }));

describe("wrong use: exit code 2 and a message that names what is wrong", () => {
  it.each([
    [["trian"], /unknown command 'trian'[\s\S]*Did you mean train/],
    [["train", "--lerning-rate", "1"], /unknown option '--lerning-rate'[\s\S]*Did you mean --learning-rate/],
    [["train", "--max_prompt_length", "512"], /unknown option '--max_prompt_length' \(here prompts are never cut\)/],
    [["train", "--warmup-ratio", "0.1"], /unknown option '--warmup-ratio' \(here warmup_steps\)/],
    [["train", "--constructor", "1"], /^error: unknown option '--constructor'$/m],
    [["train", "--learning-rate", "fast"], /learning_rate: expected a number, found "fast"/],
    [["train", "--learning-rate", "-1"], /learning_rate: expected more than 0, found -1/],
    [["train", "--num-generations", "1.5"], /num_generations: expected a whole number, found 1.5/],
    [["train", "--tying", "some"], /tying: expected one of none, structured, tiled, all, ratio.*found "some"/],
    [["train", "--tying", "tiled"], /n_tie: expected/],
    [["train", "--beta"], /option '--beta <number>' argument missing/],
    [["train", "extra"], /too many arguments/],
    [["eval", "--samples", "0"], /'--samples <n>' argument '0' is invalid. Expected a whole number from 1/],
    [["eval", "--dtype", "int4"], /dtype: expected one of bf16, fp16, fp32/],
    [
      ["eval", "--benchmark", "gsm8k,math-500"],
      /--benchmark: expected names of gsm8k, .*\(nearest: math500\), found "math-500"/,
    ],
    [["eval", "--benchmark", "gsm8k", "--answer-column", "a"], /--benchmark: its data sets have columns of their own/],
    [["eval", "--benchmark", "gsm8k", "--data", "svamp"], /--benchmark: it names data sets in place of --data/],
    [["train", "--resume", "runs/a", "--run", "runs/b"], /--resume: the run has its own folder/],
    [["eval", "--samples", "2", "--k", "1,4"], /--k: expected at most --samples \(2\), found 4/],
    [["export", "--output", "x"], /required option '--adapter <adapter>' not specified/],
    [["export", "--adapter", "x", "--output", "x", "--format", "onnx"], /Allowed choices are lora, gguf, peft/],
    [["replay", "x"], /required option '--step <n>' not specified/],
    [["replay", "x", "--step", "0.5"], /'--step <n>' argument '0.5' is invalid. Expected a whole number from 1/],
    [
      ["start", "--adapter", "lora", "--eval-data", "x"],
      /^error: --adapter, --eval-data: not for the demonstration; /m,
    ],
    [["train", "--optim", "natural", "--adapter", "lora"], /optim: expected adamw or sgd, since adapter is lora/],
    [["train", "--sigma", "0.1"], /sigma: expected nothing, since estimator is policy_gradient: .*, found 0.1/],
    [["sft", "--num-generations", "4"], /^error: --num-generations has no effect with sft$/m],
    [["sft", "--loss-type", "grpo", "--rewards", "answer"], /: --rewards, --loss-type have no effect with sft$/m],
    [["sft", "--optim", "natural"], /optim: expected adamw or sgd, since the method is sft, found natural/],
    [["eval", "--top-p", "0.9"], /--top-p has no effect with greedy decoding \(temperature 0\)/],
    [["generate", "--temperature", "0", "--seed", "1", "hi"], /--seed has no effect with greedy decoding/],
    [["eval", "--split", "dev"], /'dev' is invalid. Allowed choices are train, test, all/],
    [["generate", " "], /^error: prompt: expected a text, found none$/m],
    [["train", "--threads", "1e9"], /^error: flags: threads: expected at most 1024, found 1000000000$/m],
    [
      ["train", "--seed", "1e20"],
      /^error: flags: seed: expected at most 9007199254740991, found 100000000000000000000$/m,
    ],
    [
      ["train", "--model", "embedded", "--data", "embedded", "--rewards", "anwser"],
      /^error: rewards: .*nearest: answer/m,
    ],
    [["sweep", "x.yaml", "--population", "all"], /'all' is invalid. Expected a whole number from 1/],
    [["train", "--model", ""], /^error: flags: model: expected at least 1 letter, found ""$/m],
    [["train", "--run", ""], /'--run <folder>' argument '' is invalid. Expected a name, found none/],
    [["eval", "--adapter", " "], /'--adapter <adapter>' argument ' ' is invalid. Expected a name, found none/],
    [["export", "--adapter", "x", "--output", ""], /'--output <path>' argument '' is invalid/],
    [["import", "x"], /required option '--output <folder>' not specified/],
    [["bench", "--shapes", "gpt-5"], /Allowed choices are smollm2-135m/],
    [["bench", "--rows", "1,1e9"], /'--rows <a,b,...>' argument '1,1e9' is invalid. Expected at most 16777216/],
    [["bench", "--r", "17"], /'--r <n>' argument '17' is invalid. Expected at most 16/],
    [["bench", "--threads", "1025"], /'--threads <n>' argument '1025' is invalid. Expected at most 1024/],
    [["bench", "--seconds", "-1"], /'-1' is invalid. Expected a number from 0 to 3600/],
    [["eval", "--samples", "1e9"], /'--samples <n>' argument '1e9' is invalid. Expected at most 65536/],
    [["score", "--temperature", "0"], /'0' is invalid. Expected 1e-30 to 1e\+30/],
    [["generate", "--temperature", "1e-40", "x"], /'1e-40' is invalid. Expected 0 \(greedy\), or 1e-30 to 1e\+30/],
    [["train", "--temperature", "1e-40"], /^error: flags: temperature: expected at least 1e-30, found 1e-40$/m],
    [["train", "--num-prompts", "1e9"], /^error: flags: num_prompts: expected at most 65536, found 1000000000$/m],
    [
      ["train", "--num-prompts", "60000", "--num-generations", "60000"],
      /^error: flags: num_generations: expected at most 17: a step has at most 1048576 completions.*, found 60000$/m,
    ],
    [["train", "--max-steps", "-1"], /^error: flags: max_steps: expected at least 1, found -1$/m],
    [["bench", "--path", "sse2"], /Allowed choices are amx/],
    [["bench", "--device", "cuda", "--threads", "2"], /--threads: expected nothing, since device is cuda/],
    [["score", "--temperature", "warm"], /Expected a number/],
    [["score", "--max-sequences", "2"], /unknown option/],
    [["generate", "--text", "--system", "Be brief.", "hello"], /--system has no effect with --text/],
    [["generate", "--top-p", "2", "hello"], /top_p: expected at most 1, found 2/],
    [["info", "--r", "17"], /^error: flags: r: expected at most 16, found 17$/m],
    [["train", "--model", "embedded", "--data", "embedded", "--r", "17"], /: r: expected at most 16, found 17$/m],
  ])("%j", async (args, message) => {
    const { code, stdout, stderr } = await runCli(args);
    expect(stderr).toMatch(message);
    expect(code).toBe(2);
    expect(stdout).toBe("");
    expect(lines(stderr).length).toBeLessThanOrEqual(3);
  });

  it.each([
    ["lerning_rate: 1\n", "unknown key lerning_rate (nearest: learning_rate)"],
    ["learning_rate: [1\n", "line 2"],
    ["- a\n", "expected keys and values"],
  ])("a config file with %j", async (text, message) => {
    const file = join(folder, "config.yaml");
    await writeFile(file, text);
    const { code, stderr } = await runCli(["train", "--config", file]);
    expect(stderr).toContain(message);
    expect(stderr).toContain("config.yaml");
    expect(code).toBe(2);
  });

  it("a config file with what sft does not use", async () => {
    const file = join(folder, "grpo.yaml");
    await writeFile(file, "num_prompts: 4\nnum_generations: 4\nscale_rewards: batch\nkeep_activations: true\n");
    const { code, stderr } = await runCli(["sft", "--config", file]);
    expect(stderr).toBe(`error: ${file}: num_generations, scale_rewards, keep_activations have no effect with sft\n`);
    expect(code).toBe(2);
  });

  it.each([
    ["{", "expected JSON"],
    ["not\nJSON", "expected JSON"],
    ['{"a": 1}', "expected"],
    ["[1]", "[0]: expected a text, a list of token ids or a list of messages"],
    ["[[1.5]]", "[0]"],
  ])("score of %j", async (input, message) => {
    const { code, stderr } = await runCli(["score"], { input });
    expect(lines(stderr)).toHaveLength(1);
    expect(stderr).toContain("standard input: ");
    expect(stderr).toContain(message);
    expect(code).toBe(2);
  });
});

describe("failures: exit code 1 and one line", () => {
  it.each([
    [["generate", "--model", "/nowhere", "hello"], "/nowhere: no such model"],
    [["eval", "--adapter", "nowhere"], "nowhere: no such adapter"],
    [["generate", "--adapter", "tl1-AAAA", "hello"], "tl1-AAAA cannot be read: a character was changed"],
    [["info", "--adapter", "tl1-ABCDEFGHIJKLMNOPQRSTUVWXYZ"], "the checksum does not match"],
    [["train", "--resume", "/nowhere"], "/nowhere"],
    [["train", "--config", "/nowhere.yaml"], "/nowhere.yaml: cannot be read"],
    [["eval", "--data", "/nowhere.jsonl"], "/nowhere.jsonl"],
    [["train", "--run", "README.md/x", "--model", "embedded"], "README.md: expected a folder, found a file"],
    [["train", "--data", "/nowhere.jsonl", "--model", "embedded"], "/nowhere.jsonl: cannot be read"],
    [["eval", "--data", "hf://owner/name"], "expected hf://datasets/owner/name"],
    [
      ["eval", "--data", "embedded", "--output", "package.json/x.jsonl"],
      "package.json: expected a folder, found a file",
    ],
    [["eval", "--data", "embedded", "--report", "package.json/x.md"], "package.json: expected a folder, found a file"],
    [["eval", "--data", "embedded", "--report", "docs"], "docs: expected a file, found a folder"],
    [["eval", "--compare", "nowhere"], "nowhere: no such adapter"],
  ])("%j", async (args, message) => {
    const { code, stdout, stderr } = await runCli(args);
    expect(stderr).toContain(message);
    expect(lines(stderr)).toHaveLength(1);
    expect(stderr).toMatch(/^error: /);
    expect(stdout).toBe("");
    expect(code).toBe(1);
  });

  const onDevice = (device: string, env: NodeJS.ProcessEnv) =>
    runCli(["generate", "--model", "embedded", "--device", device, "hello"], { env });

  it.each([
    ["gpu", {}, 'device: expected cpu, cuda, cuda:N, cudasim or reference, found "gpu"'],
    ["cuda:x", {}, 'found "cuda:x"'],
    ["cuda", { TINYLORA_CUDA_DRIVER: "/nowhere.so" }, "no NVIDIA driver: cannot open /nowhere.so"],
    ["cuda", { TINYLORA_CUDA_DRIVER: ROOT }, `no NVIDIA driver: cannot open ${ROOT}`],
    ["cuda", { TINYLORA_CUDA_DRIVER: "libm.so.6" }, "libm.so.6 is no NVIDIA driver: it has no cuInit"],
  ])("--device %s %j", async (device, env, message) => {
    // Without kernels in the build, that is what is said of every GPU.
    const { code, stderr } = await onDevice(device, env);
    expect(stderr).toContain(hasNvcc || device !== "cuda" ? message : "this build has no CUDA kernels");
    if (device === "cuda") expect(stderr).toMatch(/; or use device cpu$/m);
    expect(lines(stderr)).toHaveLength(1);
    expect(code).toBe(1);
  });

  it.skipIf(!hasCudasim).each([
    ["cuda:7", { TINYLORA_CUDA_DRIVER: cudasimLibrary }, "no device 7: expected a number below 1"],
    ["cudasim", { CUDASIM_VERSION: `${nvccMajor - 1}090` }, `too old: expected one for CUDA ${nvccMajor}.0 or newer`],
    ["cudasim", { CUDASIM_ARCH: "75" }, "compute capability 7.5: expected 8.0 (Ampere) or newer; or use device cpu"],
    ["cudasim", { CUDASIM_FAIL_AT: "1" }, "cuda: waiting for the device after the kernels product_mid_bf16, "],
    ["cudasim", { CUDASIM_MEMORY: "1" }, "0 of 1 MiB free): lower token_budget, cache_tokens or max_sequences"],
  ])(cudasimTitle("--device %s %j"), async (device, env, message) => {
    const { code, stderr } = await onDevice(device, env);
    expect(stderr).toContain(message);
    expect(lines(stderr)).toHaveLength(1);
    expect(code).toBe(1);
  });

  it.each<[string[], RegExp]>([
    [["score", "--output", "test"], /^error: test: expected a file, found a folder$/m],
    [
      ["export", "--adapter", "tl1-", "--format", "merged", "--output", "test"],
      /^error: test: expected a folder that is not there yet, found a folder$/m,
    ],
    [
      ["export", "--adapter", "tl1-", "--format", "merged", "--output", "README.md"],
      /^error: README\.md: expected a folder that is not there yet, found a file$/m,
    ],
    [
      ["export", "--adapter", ADAPTER, "--format", "lora", "--output", "README.md"],
      /^error: README\.md: expected a folder, found a file$/m,
    ],
    [
      ["export", "--adapter", ADAPTER, "--format", "merged", "--output", "README.md/x"],
      /^error: README\.md: expected a folder, found a file$/m,
    ],
    [
      ["import", "test/golden/peft/qwen2", "--output", "README.md"],
      /^error: README\.md: expected a folder, found a file$/m,
    ],
    [
      ["import", "README.md", "--output", "x"],
      /^error: README\.md: expected the folder that PEFT saved, found a file$/m,
    ],
    [
      ["import", "test", "--output", "x"],
      /adapter_config\.json: cannot be read \(no such file\): expected a folder that PEFT saved$/m,
    ],
  ])("what is wrong with files before a model is loaded: %j", async (args, message) => {
    const { code, stderr } = await runCli([...args, "--model", "no-such-model"]);
    expect(stderr).toMatch(message);
    expect(code).toBe(1);
  });

  it("a text without tokens", async () => {
    const { code, stderr } = await runCli(["score", "--model", "embedded"], { input: '["1 + 1", ""]' });
    expect(stderr).toBe("error: prompt 1: expected 1 to 256 tokens (the model's context), found 0\n");
    expect(code).toBe(1);
  });

  it("a model that is no model", async () => {
    const file = join(folder, "broken.gguf");
    await writeFile(file, "GGUF and then nothing");
    const { code, stderr } = await runCli(["info", "--model", file]);
    expect(stderr).toContain("broken.gguf");
    expect(lines(stderr).length).toBeLessThanOrEqual(2);
    expect(code).toBe(1);
  });
});

describe("help", () => {
  it("lists the commands", async () => {
    const { code, stdout } = await runCli(["--help"]);
    expect(code).toBe(0);
    const listed = [...stdout.slice(stdout.indexOf("Commands:")).matchAll(/^ {2}(\w+) /gm)].map(([, name]) => name);
    expect(listed).toEqual([...COMMANDS, "help"]);
  });

  it.each(COMMANDS)("%s --help has examples", async (command) => {
    const { code, stdout } = await runCli([command, "--help"]);
    expect(code).toBe(0);
    expect(stdout).toContain("Examples:");
    expect(stdout).toContain(`tinylora-native ${command}`);
  });

  it("train --help has every option of the schema with its default", async () => {
    const { stdout } = await runCli(["train", "--help"]);
    const entries = stdout.split(/\n(?= {2}-)/).map((entry) => entry.replace(/\s+/g, " ").trim());
    for (const { flag, default: value } of fields) {
      const entry = entries.find((one) => one.startsWith(`${flag} `));
      expect(entry, flag).toBeDefined();
      const shown = Array.isArray(value) ? value.join(",") : String(value);
      if (value !== null && shown !== "") expect(entry, flag).toContain(`(default: ${shown})`);
    }
    expect(stdout).toMatch(/--learning-rate <number>\s+largest learning rate \(default: /);
    expect(stdout).toContain(`built-in rewards (${Object.keys(rewards).join(", ")})`);
    expect(stdout).not.toMatch(/\(default:\s*\)/);
    expect(stdout).toMatch(/--mask-truncated-completions \[true\|false\]/);
    for (const section of ["Model:", "Data:", "Reward:", "Adapter:", "Sampling:", "Loss:", "Optimiser:", "Run:"]) {
      expect(stdout).toContain(section);
    }
  });

  it("sft --help has the options that it uses, and no other", async () => {
    const { stdout } = await runCli(["sft", "--help"]);
    expect(stdout).toMatch(/--num-prompts <n>\s+worked answers in a step/);
    expect(stdout).toMatch(/--optim <name>\s+optimiser; one of adamw, sgd \(default: /);
    expect(stdout).not.toMatch(/Reward:|Loss:|--temperature|--num-generations|--estimator|natural/);
  });

  it("--version is that of package.json", async () => {
    const { code, stdout } = await runCli(["--version"]);
    const { version } = JSON.parse(await readFile(join(ROOT, "package.json"), "utf8")) as { version: string };
    expect(stdout).toBe(`${version}\n`);
    expect(code).toBe(0);
  });
});
