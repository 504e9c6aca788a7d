// The manual as it is printed: every command of the README runs, in its order, and its program; every option that README,
// docs and --help put behind a command is one of that command.
import { execFile } from "node:child_process";
import { mkdir, mkdtemp, readdir, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { writeTinyModel } from "../tiny-model.js";
import { BIN, type CliResult, lines, ROOT, runCli } from "./run.js";

const readme = await readFile(join(ROOT, "README.md"), "utf8");

/** Blocks that are indented by four, a `\` at the end of a line put together with the next. */
const commandLines = (text: string): string[] =>
  text
    .replaceAll(/ *\\\n\s*/g, " ")
    .split("\n")
    .flatMap((line) => /^ {4}(?:npx tinylora-native|npm start --) (.*)$/.exec(line)?.[1] ?? [])
    .map((line) => line.trim());
const inlineCode = (text: string): string[] => [...text.matchAll(/`([^`\n]+)`/g)].map(([, code]) => code!);

describe("the README's commands", () => {
  let folder: string;
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), "tinylora-manual-"));
    const model = await writeTinyModel(join(folder, "M"));
    for (const path of ["models", "data/svamp", "data/gsm8k", "node_modules"]) {
      await mkdir(join(folder, path), { recursive: true });
    }
    await symlink(model, join(folder, "models", "SmolLM2-135M-Instruct"));
    await symlink(ROOT, join(folder, "node_modules", "tinylora-native"));
    await writeFile(join(folder, "package.json"), '{ "type": "module" }');
    const numbers = Array.from({ length: 40 }, (_, i) => i);
    const svamp = numbers.map((i) => ({ ID: `s-${i}`, Body: `Tom has ${i} apples`, Question: "How many?", Answer: i }));
    await writeFile(join(folder, "data/svamp/SVAMP.json"), JSON.stringify(svamp));
    for (const split of ["train", "test"]) {
      const rows = numbers.map((i) => JSON.stringify({ question: `${split}: ${i}?`, answer: `It is.\n#### ${i}` }));
      await writeFile(join(folder, `data/gsm8k/${split}.jsonl`), rows.join("\n"));
    }
    await writeFile(join(folder, "texts.json"), '["some text"]');
    await writeFile(
      join(folder, "sweep.yaml"),
      "base: { data: svamp, shots: 0, num_prompts: 2, num_generations: 2, max_completion_length: 8, max_steps: 1, eval_steps: 1 }\ngrid: { u: [1, 13] }\n",
    );
  });
  afterAll(() => rm(folder, { recursive: true }));

  function inFolder(command: string, args: readonly string[]): Promise<CliResult> {
    const env = {
      ...process.env,
      TINYLORA_MODEL: join(folder, "M"),
      TINYLORA_DATA: join(folder, "data"),
      TINYLORA_CACHE: join(folder, "cache"),
      TSX_TSCONFIG_PATH: join(ROOT, "tsconfig.json"),
    };
    return new Promise((resolve) => {
      const child = execFile(command, args, { cwd: folder, env }, (_, stdout, stderr) =>
        resolve({ code: child.exitCode, stdout, stderr }),
      );
      child.stdin!.end();
    });
  }

  /** Only how long it takes is another than printed. */
  const SHORT: Readonly<Record<string, string>> = {
    train: "--max-steps 18 --num-prompts 2 --num-generations 2 --max-completion-length 8 --eval-steps 0",
    sft: "--num-prompts 2 --max-steps 1 --eval-steps 0 --run runs/sft",
    eval: "--max-completion-length 8 --limit 4",
    generate: "--max-completion-length 8",
    bench: "--rows 1 --seconds 0",
  };
  const RESULTS: Readonly<Record<string, string>> = {
    train: "runs/svamp/adapter/adapter.json",
    sft: "runs/sft/model/model.safetensors",
    eval: "report.md",
    export: "lora/adapter_model.safetensors",
    sweep: "runs/sweep/results.md",
  };
  const block = commandLines(/## Commands\n([\s\S]*?)\n## /.exec(readme)![1]!).map((line) => {
    // Words behind two spaces say what the command is for.
    const [, name, args] = /^(\w+) +(.*?)(?: {2,}.*)?$/.exec(line)!;
    return [name!, args!] as const;
  });

  it("are one of each kind", () => {
    expect(block.map(([name]) => name)).toEqual(
      "train sft eval generate score export info replay sweep bench".split(" "),
    );
  });

  it.each(block)("%s %s", async (name, args) => {
    const script = `"$0" "$1" ${name} ${args} ${SHORT[name] ?? ""}`;
    const { code, stdout, stderr } = await inFolder("bash", ["-c", script, process.execPath, BIN]);
    expect(stderr).not.toContain("error");
    expect(code, stderr).toBe(0);
    if (RESULTS[name]) expect(await readFile(join(folder, RESULTS[name]), "utf8")).not.toBe("");
    else expect(stdout.trim()).not.toBe("");
  });

  it("and its program", async () => {
    const program = /```ts\n([\s\S]*?)```/.exec(readme)![1]!;
    expect(program).toContain("max_steps: 150,");
    const short = program.replace("max_steps: 150,", "max_steps: 2, max_completion_length: 8,");
    await writeFile(join(folder, "program.ts"), short);
    const tsx = join(ROOT, "node_modules", "tsx", "dist", "esm", "index.mjs");
    const { code, stdout, stderr } = await inFolder(process.execPath, ["--import", tsx, "program.ts"]);
    expect(code, stderr).toBe(0);
    expect(stdout).toMatch(/^1 [\d.]+\n2 [\d.]+\ntl1-[\w-]+\n$/);
    expect(await readdir(join(folder, "runs", "gsm8k"))).toContain("adapter");
  });
});

describe("options that the manual names", () => {
  const COMMANDS = [
    "start",
    "train",
    "sft",
    "sweep",
    "replay",
    "plot",
    "eval",
    "generate",
    "score",
    "export",
    "import",
  ];
  COMMANDS.push("info", "bench");
  const helps = new Map<string, string>();
  const named = new Map<string, Set<string>>(COMMANDS.map((command) => [command, new Set()]));
  beforeAll(async () => {
    for (const command of COMMANDS) helps.set(command, (await runCli([command, "--help"])).stdout);
    const pages = (await readdir(join(ROOT, "docs"))).filter((name) => name.endsWith(".md") && name !== "log.md");
    const files = ["README.md", "examples/embedded-model/README.md", ...pages.map((name) => join("docs", name))];
    const texts = await Promise.all(files.map((file) => readFile(join(ROOT, file), "utf8")));
    const examples = [...helps.values()]
      .flatMap(lines)
      .flatMap((line) => /\$ npx tinylora-native (.*)/.exec(line)?.[1] ?? []);
    for (const text of [...texts.flatMap((text) => [...commandLines(text), ...inlineCode(text)]), ...examples]) {
      const [, command, rest] = /^(?:npx tinylora-native )?(\w+) (.*)$/.exec(text) ?? [];
      for (const [flag] of rest?.matchAll(/(?<= |^)--[a-z][\w-]*/g) ?? []) named.get(command!)?.add(flag);
    }
  });

  it("are many", () => {
    expect([...named.values()].reduce((sum, { size }) => sum + size, 0)).toBeGreaterThan(60);
  });

  it.each(COMMANDS)("%s has them", (command) => {
    const own = new Set([...helps.get(command)!.matchAll(/^ {2}(?:-\w, )?(--[\w-]+)/gm)].map(([, flag]) => flag!));
    expect([...named.get(command)!].filter((flag) => !own.has(flag))).toEqual([]);
  });
});
