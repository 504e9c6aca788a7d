// What `eval` prints, takes and refuses, run in this process, with what it says caught.
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { evalCommand } from "../../bin/commands/eval.js";
import { sftCommand } from "../../bin/commands/train.js";
import { Adapter, type Engine } from "../../lib/index.js";
import { ok, run } from "./in-process.js";
import { lines } from "./run.js";
import { tinyWorld } from "./tiny-world.js";

let folder: string;
let engine: Engine;
let remove: () => Promise<void>;
beforeAll(async () => {
  ({ folder, engine, remove } = await tinyWorld());
});
afterAll(() => remove());

describe("eval", () => {
  const short = ["--shots", "0", "--max-completion-length", "4", "--threads", "1"];

  it("gives one result of --data, and a list of --benchmark", async () => {
    const one = JSON.parse(await ok(evalCommand, "--data", "svamp", "--split", "train", "--json", ...short));
    expect(one).toMatchObject({ data: "svamp", split: "train", problems: 4, samples: 1, adapter: null });
    expect(one.sampling).toMatchObject({ temperature: 0, limit: null, max_completion_length: 4, shots: 0 });
    const chance = ["top_p", "top_k", "min_p", "stop", "seed"];
    const asked = ["prompt_style", "shots", "system", "suffix", "max_completion_length", ...chance, "dtype", "device"];
    expect(Object.keys(one.sampling)).toEqual(["samples", "temperature", "limit", ...asked]);
    const both = ["--benchmark", "gsm8k,svamp", "--split", "train", "--limit", "2", ...short];
    const list = JSON.parse(await ok(evalCommand, ...both, "--json"));
    expect(list.map(({ data, problems }: { data: string; problems: number }) => [data, problems])).toEqual([
      ["gsm8k", 2],
      ["svamp", 2],
    ]);
    const tables = (await ok(evalCommand, ...both, "--samples", "2", "--k", "2")).split("\n\n");
    expect(tables).toHaveLength(3);
    for (const [i, name] of ["gsm8k", "svamp"].entries()) {
      const names = ["problems x samples", "strict", "lenient", "format", "pass@2", "maj@2", "mean length", "time"];
      expect(lines(tables[i]!).map((line) => line.split(/ {2,}/)[0])).toEqual([name, ...names]);
      expect(tables[i]).toMatch(/^problems x samples +2 x 2$/m);
      expect(tables[i]).toMatch(/^mean length +\d\.\d tokens, \d+\.\d+ % cut$/m);
    }
  });

  it("draws as its flags of sampling say", async () => {
    const output = join(folder, "drawn.jsonl");
    const drawn = async (...flags: string[]) => {
      await ok(evalCommand, "--data", "gsm8k", "--limit", "1", "--output", output, ...flags, ...short);
      return lines(await readFile(output, "utf8")).map((line) => JSON.parse(line).completion as string);
    };
    const [greedy] = await drawn();
    const seeds = [await drawn("--samples", "2", "--seed", "1"), await drawn("--samples", "2", "--seed", "2")];
    expect(new Set([greedy, ...seeds.flat()]).size).toBe(5);
    for (const flag of ["--top-k=1", "--top-p=1e-6", "--min-p=1"]) {
      expect(await drawn("--samples", "2", flag), flag).toEqual([greedy, greedy]);
    }
  });

  it("names both adapters, of a pasted one the head, where the second is compared", async () => {
    const adapter = String(Adapter.create(engine, { u: 13 }).withVector(new Float32Array(13).fill(0.5)));
    const args = ["--data", "gsm8k", "--limit", "1", "--compare", adapter, ...short];
    const text = await ok(evalCommand, ...args);
    expect(text).toMatch(/^gsm8k +test +compared$/m);
    expect(text).toMatch(new RegExp(`^adapter +base +${adapter.slice(0, 27)}\\.\\.\\.$`, "m"));
  });

  it("warns of an adapter to compare with that was trained on problems put in another way", async () => {
    const to = join(folder, "put-otherwise");
    const few = ["--data", "gsm8k", "--shots", "0", "--num-prompts", "1", "--max-steps", "1", "--eval-steps", "0"];
    await ok(sftCommand, ...few, "--run", to, "--threads", "1");
    const adapter = String(Adapter.create(engine, { u: 2 }));
    const compared = ["--adapter", adapter, "--compare", to, "--data", "gsm8k", "--limit", "1", ...short];
    expect((await run(evalCommand, ...compared)).stderr).toBe("");
    const { stderr } = await run(evalCommand, ...compared, "--suffix", "Think.");
    expect(stderr).toBe(`warning: ${to} was trained with suffix null, here "Think."\n`);
  });

  it("takes a fifth of a file of problems, the rest, or all of them", async () => {
    const file = join(folder, "own.jsonl");
    const rows = Array.from({ length: 20 }, (_, i) => ({ question: `${i} + 1?`, answer: `${i + 1}` }));
    await writeFile(file, rows.map((row) => JSON.stringify(row)).join("\n"));
    const problems = async (...split: string[]) =>
      JSON.parse(await ok(evalCommand, "--data", file, ...split, "--json", ...short)).problems as number;
    const [test, train] = [await problems(), await problems("--split", "train")];
    expect(test).toBeGreaterThan(0);
    expect(test).toBeLessThan(train);
    expect([test + train, await problems("--split", "all")]).toEqual([20, 20]);
  });

  it("refuses a part that is empty, and leaves out problems without an answer that can be read", async () => {
    const file = join(folder, "broken.jsonl");
    const rows = ["1 + 1?", "2 + 2?"].map((question) => ({ question, answer: "4" }));
    await writeFile(file, [...rows, { question: "3 + 3?", answer: "" }].map((row) => JSON.stringify(row)).join("\n"));
    const args = ["--data", file, "--split", "train", "--json", ...short];
    const { code, stderr } = await run(evalCommand, ...args);
    expect([code, stderr]).toEqual([1, expect.stringMatching(/^error: .*broken.*\n$/)]);
    const left = await run(evalCommand, ...args, "--skip-bad");
    expect(left.stderr).toMatch(/^warning: .*broken\.jsonl: 1 broken rows left out, the first: .*\n/);
    expect(JSON.parse(left.stdout).problems).toBe(2);
    const empty = await run(evalCommand, "--data", "amc23", "--split", "train", ...short);
    const told = "amc23: expected problems in its train part, found none: --split all takes its 1 problem";
    expect([empty.code, empty.stderr]).toEqual([1, `error: ${told}\n`]);
  });

  it("refuses a cache that a problem does not fit in before the first is asked, or leaves such problems out", async () => {
    const file = join(folder, "long.jsonl");
    const rows = [1, 30, 20].map((words) => ({ question: "apple ".repeat(words), answer: "4" }));
    await writeFile(file, rows.map((row) => JSON.stringify(row)).join("\n"));
    const args = [
      "--data",
      file,
      "--split",
      "all",
      "--json",
      "--cache-tokens",
      "32",
      ...short,
      "--prompt-style",
      "text",
    ];
    const { code, stderr } = await run(evalCommand, ...args);
    expect(code).toBe(2);
    expect(stderr).toMatch(
      /^error: cache_tokens: expected at least \d+ for the prompt and a completion of .*long\.jsonl\/2, found 32\n$/,
    );
    const left = await run(evalCommand, ...args, "--skip-bad");
    expect(left.stderr).toMatch(/^warning: .*long\.jsonl: 2 problems left out, the first: cache_tokens: /);
    expect(JSON.parse(left.stdout).problems).toBe(1);
  });
});
