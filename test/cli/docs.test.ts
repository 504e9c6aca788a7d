// What the pages and the scripts' own help say against what is there: flags of printed commands, files that are named,
// links, and the flags of every script in benchmarks.
import { spawnSync } from "node:child_process";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { describe, expect, it } from "vitest";
import { ROOT, runCli } from "./run.js";

const docs = readdirSync(join(ROOT, "docs")).filter((name) => name.endsWith(".md") && name !== "log.md");
const pages = [
  "README.md",
  "benchmarks/README.md",
  "examples/embedded-model/README.md",
  ...docs.map((one) => `docs/${one}`),
];
const textOf = (page: string) => readFileSync(join(ROOT, page), "utf8");

/** Lines that a backslash cuts count as one. */
const commandLines = (page: string) =>
  textOf(page)
    .replaceAll(/\\\n\s*/g, "")
    .split("\n");

describe("commands that the pages print", () => {
  const given = new Map<string, Set<string>>();
  for (const page of pages) {
    for (const line of commandLines(page)) {
      for (const [, name, rest] of line.matchAll(/npx tinylora-native +([a-z]+)([^`\n]*)/g)) {
        const flags = given.get(name!) ?? new Set();
        for (const [flag] of rest!.matchAll(/--[a-z][a-z-]*/g)) flags.add(flag);
        given.set(name!, flags);
      }
    }
  }

  it("are there", () => {
    expect([...given.keys()].sort()).toEqual(
      ["bench", "eval", "export", "generate", "info", "plot", "replay", "score", "sft", "sweep", "train"].sort(),
    );
  });

  it.each([...given])("%s has the flags that are printed", async (name, flags) => {
    const { code, stdout } = await runCli([name, "--help"]);
    expect(code).toBe(0);
    for (const flag of flags) expect(stdout).toMatch(new RegExp(`^ +${flag}\\b`, "m"));
  });
});

describe.each(pages)("%s", (page) => {
  it("names files that are there", () => {
    const names = textOf(page).matchAll(
      /(?<![\w/.-])(?:benchmarks|test|lib|native|examples|bin|docs|scripts|cmake)\/[\w./-]*\.\w+/g,
    );
    for (const [name] of names) {
      // "docs/performance.md", not what a command writes or a name of many
      if (/\/(?:results|counters\.json)/.test(name) && !name.endsWith("results.md")) continue;
      expect(existsSync(join(ROOT, name)), `${page}: ${name}`).toBe(true);
    }
  });

  it("links to what is there", () => {
    for (const [, target] of textOf(page).matchAll(/\]\(([^)\s]+)\)/g)) {
      if (/^https?:/.test(target!)) continue;
      const [path, anchor] = target!.split("#") as [string, string?];
      const file = path === "" ? page : join(dirname(page), path);
      expect(existsSync(join(ROOT, file)), `${page}: ${target}`).toBe(true);
      if (anchor !== undefined) expect(anchors(file), `${page}: ${target}`).toContain(anchor);
    }
  });
});

/** Of a page's headings, as they are linked to. */
function anchors(page: string): string[] {
  return [...textOf(page).matchAll(/^#+ (.*)$/gm)].map(([, title]) =>
    title!
      .toLowerCase()
      .replaceAll(/[^\w\- ]/g, "")
      .replaceAll(" ", "-"),
  );
}

describe("scripts in benchmarks", () => {
  const scripts = ["benchmarks", "benchmarks/cuda", "benchmarks/smollm2-form"]
    .flatMap((folder) => readdirSync(join(ROOT, folder)).map((name) => `${folder}/${name}`))
    .filter((file) => file.endsWith(".ts") && /readFlags\(|answerHelp\(\);/.test(textOf(file)))
    .filter((file) => file !== "benchmarks/flags.ts");
  const run = (script: string, ...flags: string[]) =>
    spawnSync(process.execPath, ["--import", "tsx", script, ...flags], { cwd: ROOT, encoding: "utf8" });

  it.each(scripts)("%s tells every flag, with its default", (script) => {
    const text = textOf(script);
    const head = /\/\*\*([\s\S]*?)\*\//.exec(text)![1]!;
    expect(head).toMatch(/npx tsx benchmarks\/|npm run gpu/);
    for (const [, name, standard] of text.matchAll(
      /^ +"?([a-z-]+)"?: \{ type: "(?:string|boolean)"(?:, default: (.*?))? \}/gm,
    )) {
      expect(head, `--${name}`).toMatch(new RegExp(`--${name}\\b`));
      const value = /^"(.*)"$/.exec(standard ?? "")?.[1];
      if (value && name !== "model") expect(head, `--${name}`).toContain(value);
    }
  });

  it.each(scripts)("%s --help prints that and runs nothing", (script) => {
    const { status, stdout, stderr } = run(script, "--help");
    expect(stderr).toBe("");
    expect(stdout).toMatch(/npx tsx benchmarks\/|npm run gpu/);
    expect(stdout).not.toMatch(/^ ?\*/m);
    expect(status).toBe(0);
  });

  it.each([
    [
      "sampling.ts",
      ["--batches", "8,x"],
      "--batches: expected whole numbers from 1 with commas between them, found 8,x",
    ],
    ["sampling.ts", ["--adapter", "lora"], "--adapter: expected one of tinylora, none, found lora"],
    ["grpo-step.ts", ["--dtype", "fp16"], "--dtype: expected one of bf16, fp32, found fp16"],
    ["grpo-step.ts", ["--steps", ""], "--steps: expected a value, found nothing"],
    ["population.ts", ["--members", "0"], "--members: expected a whole number from 1, found 0"],
    ["gradient-parts.ts", ["--target", "down"], /--target: expected one of q_proj, .*, found down/],
    ["products.ts", ["--shapes", "576"], "--shapes: expected INxOUT, found 576"],
    ["products.ts", ["--seconds=-1"], "--seconds: expected a number above 0, found -1"],
    ["judging.ts", ["--fast"], "Unknown option '--fast'"],
    ["gguf-lora.ts", [], "--llamacpp: expected the folder that holds node-llama-cpp, found nothing"],
    ["gguf-lora.ts", ["--llamacpp", "docs"], "--llamacpp: expected the folder that holds node-llama-cpp, found docs"],
    ["cuda/counters.ts", ["--rank", "17"], "--rank: expected at most 16, found 17"],
    ["compare.ts", ["speed"], "expected one of sampling, grpo, products, found speed"],
    ["compare.ts", ["grpo", "--peers", "nowhere"], /nowhere\/\.cache\/venv\/bin\/python: no such interpreter; .*/],
    ["cuda/counters.ts", ["--models", "gpt-5"], /--models: expected names of smollm2-135m, .*, found gpt-5/],
    ["smollm2-form/solutions.ts", ["a"], "expected two files, SVAMP.json and the one to write, found 1"],
  ])("%s %j: one line", (script, flags, message) => {
    const { status, stdout, stderr } = run(`benchmarks/${script}`, ...flags);
    const [line, ...rest] = stderr.trimEnd().split("\n");
    expect(rest).toEqual([]);
    expect(line).toMatch(/^error: .* \(--help says more\)$/);
    expect(line!.slice("error: ".length, -" (--help says more)".length)).toEqual(
      typeof message === "string" ? message : expect.stringMatching(message),
    );
    expect(stdout).toBe("");
    expect(status).toBe(2);
  });

  it("a file that is not there: one line", () => {
    const { status, stderr } = run("benchmarks/smollm2-form/solutions.ts", "nowhere.json", "out.jsonl");
    expect(stderr).toBe("error: nowhere.json: no such file\n");
    expect(status).toBe(1);
  });
});
