import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { appendFile, mkdir, mkdtemp, readdir, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { hostname, tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { Adapter, Engine, GrpoTrainer, planSweep, readResults, runSweep, type SweepSpec } from "../../../lib/index.js";
import { readMetrics } from "../../../lib/run/metrics-file.js";
import { sideBySide } from "../../../lib/sweep/side-by-side.js";
import { writeTinyModel } from "../../tiny-model.js";

let folder: string;
/** What both methods use, and with what only GRPO does. */
let common: Record<string, unknown>;
let base: Record<string, unknown>;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "tinylora-sweep-"));
  const model = await writeTinyModel(join(folder, "model"));
  const data = join(folder, "sums.jsonl");
  const rows = Array.from({ length: 20 }, (_, i) => ({ question: `${i}+1?`, solution: `#### ${i + 1}` }));
  await writeFile(data, rows.map((row) => `${JSON.stringify(row)}\n`).join(""));
  common = {
    ...{ model, data, shots: 0, threads: 1, prompt_style: "text", num_prompts: 2 },
    ...{ max_completion_length: 8, max_steps: 2, eval_steps: 2, eval_examples: 2 },
  };
  base = { ...common, num_generations: 2, rewards: ["digits"] };
});
afterEach(() => rm(folder, { recursive: true, force: true }));

async function sweepFile(text: string): Promise<string> {
  const file = join(folder, "sweep.yaml");
  await writeFile(file, text);
  return file;
}

describe("a sweep's file", () => {
  it("stands for every combination, nested grids and seeds included, each once", async () => {
    const file = await sweepFile(`
base: { data: svamp, max_steps: 10 }
seeds: [1, 2]
grid:
  - method: [grpo, sft]
    grid:
      - { u: [1, 13], learning_rate: [0.001, 0.01] }
      - { adapter: lora, r: 4, stop: [[], [".", ","]] }
  - { method: sft, u: 1, learning_rate: 0.01 }
`);
    const { members } = await planSweep(file);
    expect(members).toHaveLength(2 * (2 * 2 + 2) * 2);
    expect(members[0]).toMatchObject({
      method: "grpo",
      config: { u: 1, learning_rate: 0.001, seed: 1, max_steps: 10 },
    });
    expect(members.filter(({ method, config }) => method === "sft" && config.adapter === "lora")).toHaveLength(4);
    expect(new Set(members.map(({ name }) => name)).size).toBe(members.length);
  });

  it("takes its base from a file beside it, and flags over that", async () => {
    await writeFile(join(folder, "base.yaml"), "data: svamp\nlearning_rate: 0.5\nmodel: here\n");
    const file = await sweepFile("base: base.yaml\ngrid: { u: [1, 2] }\n");
    const { members } = await planSweep(file, { model: "there" });
    expect(members.map(({ config }) => [config.model, config.learning_rate, config.u])).toEqual([
      ["there", 0.5, 1],
      ["there", 0.5, 2],
    ]);
  });

  it("names members by what is innermost in the grid, where a name cannot hold everything", async () => {
    const outer = { data: "mawps", max_completion_length: 32, eval_examples: 394, max_steps: 40, eval_steps: 40 };
    const { members } = await planSweep({ grid: { ...outer, grid: { u: [1, 13], learning_rate: 0.01 } }, seeds: [1] });
    expect(members.map(({ name }) => name.replace(/-\w+$/, ""))).toEqual(
      [1, 13].map((u) => `seed=1_learning_rate=0.01_u=${u}_eval_steps=40_max_steps=40_eval_examples=394`),
    );
  });

  it("names members alike whatever else it holds, so that one that grows goes on", async () => {
    const grid = { u: [1] };
    const small = await planSweep({ grid, seeds: [1] });
    const large = await planSweep({ grid: { u: [2, 1] }, seeds: [3, 1] });
    expect(large.members.map(({ name }) => name)).toContain(small.members[0]!.name);
  });

  it.each([
    ["grid: { lerning_rate: [1] }", /sweep\.yaml: options: unknown key lerning_rate \(nearest: learning_rate\)/],
    ["grid: { u: [1, many] }", /u: expected .*found "many" \(in 1 of 2 members, first in u=many seed=42\)/],
    ["grid: { tying: [all, tiled] }", /n_tie: expected a number of modules.*\(in 1 of 2 members, first in tying=tiled/],
    ["grid: { rewards: [answer] }", /rewards: expected a list, found "answer"/],
    ["grid: { adapter: lora, r: [16, 32] }", /r: expected at most 16, found 32 \(in 1 of 2 members/],
    [
      `grid: { ${["r", "u", "seed", "shots", "beta"].map((key) => `${key}: [${[...Array(100).keys()]}]`).join(", ")} }`,
      /sweep\.yaml: grid: expected at most 10000 combinations, found 1000000 or more$/,
    ],
    ["grid: &again { u: 1, grid: *again }", /sweep\.yaml: (grid: |.*alias)/i],
    [`grid: ${"{ grid: ".repeat(50)}{ u: 1 }${" }".repeat(50)}`, /at most 16 grids inside one another/],
    ["grid: { u: [] }", /grid: u: expected at least one value/],
    ["grid: [7]", /grid: expected keys and values, found 7/],
    ["grid: { u: 1, grid: { u: 2 } }", /grid: u: found in a block and again/],
    ["grid: { seed: [1, 2] }", /grid: seed: expected the seeds in `seeds`/],
    [
      "grid: { method: [grpo, sft], loss_type: [grpo, dapo], beta: 0 }",
      /sweep\.yaml: loss_type, beta have no effect with sft \(in 2 of 4 members, first in method=sft loss_type=grpo/,
    ],
    ["{ base: { num_generations: 4 }, grid: { method: sft } }", /sweep\.yaml: num_generations has no effect with sft$/],
    ["base: { method: sft, temperature: 1, top_k: 5 }", /sweep\.yaml: temperature, top_k have no effect with sft$/],
    [
      "{ base: { u: 4 }, grid: { adapter: [lora, full] } }",
      /u: expected nothing, since adapter is lora: it has no effect/,
    ],
    ["grid: { adapter: [tinylora, lora], u: 4 }", /u: expected nothing, since adapter is lora.*\(in 1 of 2 members/],
    ["grid: { method: [dpo] }", /method: expected one of grpo, sft, found "dpo"/],
    ["", /sweep\.yaml: expected base, grid, seeds, best_of, metric, found nothing$/],
    ["grids: {}", /unknown key grids \(nearest: grid\)/],
    ["best_of: [rate]", /best_of: unknown key rate/],
    ["base: { eval_steps: 0 }", /eval_steps: expected at least 1/],
    ["base: missing.yaml", /missing\.yaml: cannot be read/],
    ["seeds: [a]", /sweep\.yaml: seeds\.0/],
  ])("is refused with the key and the file: %s", async (text, message) => {
    await expect(planSweep(await sweepFile(text))).rejects.toThrow(message);
  });
});

it("a sweep's base may hold what only some of its members use", async () => {
  const { members } = await planSweep({ base: { num_generations: 4 }, grid: { method: ["grpo", "sft"] } });
  expect(members.map(({ method }) => method)).toEqual(["grpo", "sft"]);
  const adapters = { adapter: ["tinylora", "lora", "full"] };
  const mixed = await planSweep({ base: { u: 4, lora_alpha: 2, r: 8 }, grid: adapters });
  expect(mixed.members.map(({ config: { u, lora_alpha, r } }) => [u, lora_alpha, r])).toEqual([
    [4, null, 8],
    [null, 2, 8],
    [null, null, 2],
  ]);
});

describe("the files of the paper's figures", () => {
  const paper = join(import.meta.dirname, "..", "..", "..", "benchmarks", "paper");
  it("are whole", async () => {
    const files = (await readdir(paper)).sort();
    expect(files.length).toBeGreaterThan(8);
    for (const file of files) {
      expect((await planSweep(join(paper, file))).members.length, file).toBeGreaterThanOrEqual(9);
    }
  });
});

describe("running a sweep", () => {
  it("gives each member the run it would have alone, and writes tables", async () => {
    const sweep: SweepSpec = { base, grid: { method: ["grpo", "sft"], u: [1, 3] }, seeds: [1, 2] };
    const events: string[] = [];
    const { stopped, results } = await runSweep({
      sweep,
      folder: join(folder, "out"),
      population: 3,
      onPopulation: (members, atOnce) => events.push(`${members.length} members, ${atOnce} at a time`),
      onMember: ({ event, place, members }) => events.push(`${place}/${members} ${event}`),
    });
    expect(stopped).toBe("finished");
    // Of u = 1, then of u = 3.
    expect(events.slice(0, 4)).toEqual(["4 members, 3 at a time", "1/8 starts", "2/8 starts", "5/8 starts"]);
    expect(events.indexOf("6/8 starts")).toBeGreaterThan(events.findIndex((event) => event.endsWith("finished")));
    expect(events.slice(9, 13)).toEqual(["4 members, 3 at a time", "3/8 starts", "4/8 starts", "7/8 starts"]);
    expect(results.members.map(({ status }) => status)).toEqual(Array(8).fill("finished"));
    expect(results.settings.map(({ method, parameters }) => [method, parameters])).toEqual([
      ["grpo", 1],
      ["grpo", 3],
      ["sft", 1],
      ["sft", 3],
    ]);
    expect(await readResults(join(folder, "out"))).toEqual(results);
    expect(await readFile(join(folder, "out", "results.md"), "utf8")).toMatch(/8 of 8 members finished, 0 failed/);

    const { members } = await planSweep(sweep);
    const last = members.find(({ method, config }) => method === "grpo" && config.u === 3 && config.seed === 2)!;
    await using engine = await Engine.load(last.config.model!, { threads: 1 });
    const adapter = Adapter.create(engine, { u: 3 });
    await new GrpoTrainer({ engine, adapter, config: last.config, run: join(folder, "alone") }).train();
    const alone = await readMetrics(join(folder, "alone"));
    expect(alone).toHaveLength(3);
    expect(await readMetrics(join(folder, "out", "members", last.name))).toEqual(alone);
  });

  it("clears what a killed process has left in the folder of a member that is finished", async () => {
    const out = join(folder, "out");
    const options = { sweep: { base, grid: { u: 1 } }, folder: out };
    const { results } = await runSweep(options);
    const run = join(out, "members", results.members[0]!.name);
    const whole = await readdir(run, { recursive: true });
    await writeFile(join(run, "lock"), JSON.stringify({ pid: 2 ** 22 + 12345, host: hostname(), started: null }));
    await mkdir(join(run, "checkpoints", ".removed-1.123"));
    await writeFile(join(out, ".results.json.123.0123abcd"), "ha");
    await runSweep(options);
    expect((await readdir(run, { recursive: true })).sort()).toEqual(whole.sort());
    expect((await readdir(out)).sort()).toEqual(["members", "results.json", "results.md"]);
  });

  it("starts members from an adapter, side by side as alone", async () => {
    const start = join(folder, "start");
    await using engine = await Engine.load(String(base.model), { threads: 1 });
    const adapter = Adapter.create(engine, { u: 3 }).withVector([0.1, -0.2, 0.3]);
    await adapter.save(start);
    const grid = { start_from: [start, null], learning_rate: [0.001, 0.002] };
    const out = join(folder, "out");
    const { results } = await runSweep({ sweep: { base: { ...common, method: "sft", u: 3 }, grid }, folder: out });
    const { members } = await planSweep({ base: { ...common, method: "sft", u: 3 }, grid });
    expect(sideBySide(members).map((group) => group.length)).toEqual([2, 2]);
    expect(results.members.map(({ status }) => status)).toEqual(Array(4).fill("finished"));
    for (const [place, { name, config }] of members.entries()) {
      const { v } = await Adapter.load(join(out, "members", name));
      const from = place < 2 ? adapter.v : new Float32Array(3);
      v.forEach((value, i) => {
        const moved = Math.abs(value - from[i]!);
        expect(moved).toBeGreaterThan(0);
        expect(moved).toBeLessThan(1.01 * config.max_steps * config.learning_rate); // AdamW's first steps are of the rate
      });
    }
    const alone = await runSweep({
      sweep: { base: { ...common, method: "sft", u: 3, start_from: start, learning_rate: 0.002 } },
      folder: join(folder, "alone"),
    });
    expect(await readMetrics(join(out, "members", members[1]!.name))).toEqual(
      await readMetrics(join(folder, "alone", "members", alone.results.members[0]!.name)),
    );
  });

  it("gives later members a clean model after one that trained the weights themselves", async () => {
    const { results } = await runSweep({
      sweep: { base: { ...common, r: 1 }, grid: { method: "sft", adapter: ["full", "lora", "tinylora"] } },
      folder: join(folder, "all"),
    });
    const alone = await runSweep({
      sweep: { base: { ...common, method: "sft" }, grid: { adapter: "tinylora", r: 1 } },
      folder: join(folder, "one"),
    });
    expect(results.members.map(({ status }) => status)).toEqual(["finished", "finished", "finished"]);
    const metrics = (out: string, name: string) => readMetrics(join(folder, out, "members", name));
    expect(await metrics("all", results.members[2]!.name)).toEqual(
      await metrics("one", alone.results.members[0]!.name),
    );
  });

  it("reports a member that fails, runs the others, and tries it again next time", async () => {
    const reward = join(folder, "moody.mjs");
    const switchFile = join(folder, "well");
    await writeFile(
      reward,
      `import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
       export default () => { if (!existsSync(${JSON.stringify(switchFile)})) throw new Error("in a mood"); return 1; };`,
    );
    const sweep: SweepSpec = { base, grid: { rewards: [[reward], ["format"]] } };
    const first = await runSweep({ sweep, folder: join(folder, "out") });
    expect(first.stopped).toBe("finished");
    expect(first.results.members.map(({ status }) => status)).toEqual(["failed", "finished"]);
    expect(first.results.members[0]!.error).toMatch(/in a mood/);
    expect(await readFile(join(folder, "out", "results.md"), "utf8")).toMatch(/failed: .*in a mood/);

    await writeFile(switchFile, "");
    const events: string[] = [];
    const second = await runSweep({ sweep, folder: join(folder, "out"), onMember: ({ event }) => events.push(event) });
    expect(events).toEqual(["skipped", "starts", "finished"]);
    expect(second.results.members.map(({ status }) => status)).toEqual(["finished", "finished"]);
  });

  it("runs the others where a member's folder cannot be read", async () => {
    const sweep: SweepSpec = { base, grid: { u: [1, 2] } };
    const [first] = (await planSweep(sweep)).members;
    const run = join(folder, "out", "members", first!.name);
    await mkdir(run, { recursive: true });
    await writeFile(join(run, "config.json"), "{");
    await symlink("checkpoints", join(run, "checkpoints"));
    const { results } = await runSweep({ sweep, folder: join(folder, "out") });
    expect(results.members.map(({ status }) => status)).toEqual(["failed", "finished"]);
    expect(results.members[0]!.error).toMatch(/config\.json: not the config of a run$/);
  });

  it("goes on after Ctrl-C in the middle of a member, to the same results", async () => {
    const sweep: SweepSpec = { base, grid: { u: [1, 2, 3] } };
    const whole = await runSweep({ sweep, folder: join(folder, "whole") });
    const controller = new AbortController();
    const events: string[] = [];
    const stopped = await runSweep({
      sweep,
      folder: join(folder, "out"),
      signal: controller.signal,
      onMember: ({ event }) => events.push(event),
      onStep: ({ config }, { step }) => {
        if (config.u === 2 && step === 1) controller.abort();
      },
    });
    expect(stopped.stopped).toBe("aborted");
    expect(events).toEqual(["starts", "finished", "starts", "interrupted"]);
    expect(stopped.results.members.map(({ status }) => status)).toEqual(["finished", "interrupted", "waiting"]);
    expect(existsSync(join(folder, "out", "lock"))).toBe(false);

    const resumed = await runSweep({ sweep, folder: join(folder, "out") });
    expect(resumed.results).toEqual(whole.results);
    for (const { name } of whole.results.members) {
      const metrics = (out: string) => readMetrics(join(folder, out, "members", name));
      expect(await metrics("out")).toEqual(await metrics("whole"));
    }
  });

  it("goes on after Ctrl-C in the middle of a population, to the same results", async () => {
    const sweep: SweepSpec = { base, grid: { projection_seed: [0, 1], learning_rate: [0.01, 0.1] } };
    const whole = await runSweep({ sweep, folder: join(folder, "whole"), population: 1 });
    const controller = new AbortController();
    const events: string[] = [];
    const stopped = await runSweep({
      sweep,
      folder: join(folder, "out"),
      population: 3,
      signal: controller.signal,
      onMember: ({ event }) => events.push(event),
      onStep: (_, { step }) => {
        if (step === 1) controller.abort();
      },
    });
    expect(stopped.stopped).toBe("aborted");
    expect(events).toEqual([...Array(3).fill("starts"), ...Array(3).fill("interrupted")]);
    expect(stopped.results.members.at(-1)!.status).toBe("waiting");

    const resumed = await runSweep({ sweep, folder: join(folder, "out") });
    expect(resumed.results).toEqual(whole.results);
    for (const { name } of whole.results.members) {
      const metrics = (out: string) => readMetrics(join(folder, out, "members", name));
      expect(await metrics("out")).toEqual(await metrics("whole"));
    }
  });

  it("goes on after kill -9 in the middle of a population, to the same results", async () => {
    const sweep: SweepSpec = { base: { ...base, max_steps: 6 }, grid: { projection_seed: [0, 1] }, seeds: [1, 2] };
    const whole = await runSweep({ sweep, folder: join(folder, "whole"), population: 1 });
    const script = join(import.meta.dirname, "run-sweep.ts");
    const out = join(folder, "out");
    const child = spawn(process.execPath, ["--import", "tsx", script, JSON.stringify(sweep), out, "3"]);
    await new Promise<void>((resolve) => child.stdout.once("data", () => resolve())); // three steps were made
    child.kill("SIGKILL");
    await new Promise((resolve) => child.once("close", resolve));

    const resumed = await runSweep({ sweep, folder: out });
    expect(resumed.results).toEqual(whole.results);
    for (const { name } of whole.results.members) {
      const metrics = (of: string) => readMetrics(join(of, "members", name));
      expect(await metrics(out)).toEqual(await metrics(join(folder, "whole")));
    }
  });

  it("trains side by side what shares U, S, V, and the rest one after another", async () => {
    const grid = [
      { u: [1, 2], projection_seed: [0, 1] },
      { adapter: ["lora", "full"], learning_rate: [0.1, 0.2] },
      { adapter: "lora_xs", r: 2, method: "sft" },
    ];
    const { members } = await planSweep({ base, grid, seeds: [1, 2] });
    const names = sideBySide(members).map((group) => group.map(({ settings }) => Object.values(settings).join(" ")));
    expect(names).toEqual([
      ["1 0", "1 0", "1 1", "1 1"],
      ["2 0", "2 0", "2 1", "2 1"],
      ...["lora 0.1", "lora 0.1", "lora 0.2", "lora 0.2"].map((name) => [name]),
      ...["full 0.1", "full 0.1", "full 0.2", "full 0.2"].map((name) => [name]),
      ["lora_xs 2 sft", "lora_xs 2 sft"],
    ]);
    const wide = await planSweep({
      base,
      grid: { r: 16, u: 4096, projection_seed: Array.from({ length: 18 }, (_, i) => i) },
    });
    expect(sideBySide(wide.members).map((group) => group.length)).toEqual([16, 2]);
    await expect(runSweep({ sweep: { base }, folder, population: 0 })).rejects.toThrow(
      /population: expected .* found 0/,
    );
  });

  it("starts nothing where something that a member names is missing, or does not fit", async () => {
    const out = join(folder, "out");
    const write = async (name: string, text: string) => {
      await writeFile(join(folder, name), text);
      return join(folder, name);
    };
    await using engine = await Engine.load(String(base.model), { threads: 1 });
    const start = join(folder, "start");
    await Adapter.create(engine, { u: 3 }).save(start);
    const cases: [grid: Record<string, unknown>, message: RegExp][] = [
      [{ model: [base.model, "nowhere"] }, /^sweep: nowhere: no such model.* \(in 1 of 2 members\)$/],
      [{ model: [folder] }, /expected config\.json or one \.gguf file, found neither$/],
      [{ rewards: [["format"], ["anwser"]] }, /^sweep: rewards: .*nearest: answer.* \(in 1 of 2 members\)$/],
      [{ rewards: [["./nowhere.mjs"]] }, /^sweep: rewards: \.\/nowhere\.mjs cannot be loaded/],
      [{ data: [base.data, "svmp"] }, /^sweep: data: expected a file .*nearest: svamp.* \(in 1 of 2 members\)$/],
      [{ data: ["nowhere.jsonl"] }, /^sweep: nowhere\.jsonl/],
      [{ data: [await write("bad.jsonl", '{"question": "1+1?", "answer": "2"}\n{"qu\n')] }, /bad\.jsonl:2/],
      [{ eval_data: [null, "nowhere.csv"] }, /^sweep: nowhere\.csv.* \(in 1 of 2 members\)$/],
      [{ start_from: [null, "nowhere"] }, /^sweep: nowhere: no such adapter.* \(in 1 of 2 members\)$/],
      [{ start_from: start, u: [3, 4] }, /^sweep: start_from: .* expected u: 3 \(found 4\) \(in 1 of 2 members\)$/],
    ];
    for (const [grid, message] of cases) {
      await expect(runSweep({ sweep: { base, grid }, folder: out }), JSON.stringify(grid)).rejects.toThrow(message);
    }
    expect(await readdir(folder)).not.toContain("out");
    await writeFile(join(folder, "config.json"), "{}");
    await expect(runSweep({ sweep: { base }, folder })).rejects.toThrow(/config\.json: not the config of a run/);
    await runSweep({ sweep: { base: { ...common, method: "sft", u: 3, start_from: start } }, folder: out });
  });

  it("is written by one process at a time", async () => {
    const out = join(folder, "out");
    const inner: Promise<unknown>[] = [];
    const sweep: SweepSpec = { base, grid: { u: 1 } };
    await runSweep({
      sweep,
      folder: out,
      onStep: () => void inner.push(runSweep({ sweep, folder: out }).catch((e) => e)),
    });
    expect(String(await inner[0])).toMatch(/being written by process/);
  });

  it("refuses results that are none", async () => {
    await appendFile(join(folder, "results.json"), "{}");
    await expect(readResults(folder)).rejects.toThrow(/results\.json: not the results of a sweep/);
  });
});
