import { mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { planSweep, type Settings } from "../../../lib/index.js";

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "tinylora-sweep-"));
});
afterEach(async () => {
  vi.unstubAllEnvs();
  await rm(folder, { recursive: true, force: true });
});

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

  it("refuses flags that would change no member", async () => {
    const file = await sweepFile("grid: { model: [here, there], u: [1, 2] }\n");
    await expect(planSweep(file, { model: "elsewhere" })).rejects.toThrow(
      /sweep\.yaml: model: no effect, since grid gives every member its own$/,
    );
  });

  it("runs other members for another TINYLORA_MODEL, under what it names itself", async () => {
    const names = async (base: Settings) => (await planSweep({ base, grid: { u: 1 } })).members.map(({ name }) => name);
    const shared = await names({});
    vi.stubEnv("TINYLORA_MODEL", "there");
    expect(await names({})).not.toEqual(shared);
    expect(await names({})).toEqual(await names({ model: "there" }));
    vi.stubEnv("TINYLORA_MODEL", "elsewhere");
    expect(await names({ model: "there" })).not.toEqual(await names({}));
  });

  it("names members by what is innermost in the grid, where a name cannot hold everything", async () => {
    const outer = { data: "mawps", max_completion_length: 32, eval_examples: 394, max_steps: 40, eval_steps: 40 };
    const { members } = await planSweep({ grid: { ...outer, grid: { u: [1, 13], learning_rate: 0.01 } }, seeds: [1] });
    expect(members.map(({ name }) => name.replace(/-\w+$/, ""))).toEqual(
      [1, 13].map((u) => `seed=1_learning_rate=0.01_u=${u}_eval_steps=40_max_steps=40_eval_examples=394`),
    );
  });

  it("names members as earlier versions did, so that a sweep that was begun then goes on", async () => {
    const base = { model: "there", data: "svamp", max_steps: 10 };
    const { members } = await planSweep({ base, grid: { u: 1 }, seeds: [1] });
    expect(members.map(({ name }) => name)).toEqual(["seed=1_u=1-093cea48"]);
    const sparing = await planSweep({
      base: { ...base, gradient_checkpointing: true, keep_activations: true },
      grid: { u: 1 },
      seeds: [1],
    });
    expect(sparing.members[0]!.name).toBe(members[0]!.name);
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
    ["seeds: [a]", /sweep\.yaml: seeds\.0: expected a number, found "a"$/],
    ["seeds: 3", /sweep\.yaml: seeds: expected a list, found 3$/],
    ["best_of: u", /sweep\.yaml: best_of: expected a list, found "u"$/],
    ["metric: eval/lenien", /metric: expected one of .* \(nearest: eval\/lenient\), found "eval\/lenien"$/],
    ["base: [1]", /sweep\.yaml: base: expected keys and values, or the path of their file, found \[1\]$/],
    ["learning_rate: [0.1, 1]", /sweep\.yaml: learning_rate: expected it in base or in grid$/],
    ["max_step: 3", /sweep\.yaml: unknown key max_step \(nearest: max_steps\)$/],
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
