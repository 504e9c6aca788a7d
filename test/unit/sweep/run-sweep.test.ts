import { truncateSync } from "node:fs";
import { appendFile, mkdir, readdir, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { Adapter, Engine, GrpoTrainer, planSweep, readResults, runSweep, type SweepSpec } from "../../../lib/index.js";
import { readMetrics } from "../../../lib/run/metrics-file.js";
import { smallSweep } from "./small-sweep.js";

let folder: string;
/** What both methods use, and with what only GRPO does. */
let common: Readonly<Record<string, unknown>>;
let base: Readonly<Record<string, unknown>>;
beforeEach(async () => {
  ({ folder, common, base } = await smallSweep());
});
afterEach(() => rm(folder, { recursive: true, force: true }));

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
    // Of the model's weights, which are kept in bf16, and of fp32 numbers.
    expect(results.members.map(({ bytes, parameters }) => bytes! / parameters!)).toEqual([2, 4, 4]);
    const metrics = (out: string, name: string) => readMetrics(join(folder, out, "members", name));
    expect(await metrics("all", results.members[2]!.name)).toEqual(
      await metrics("one", alone.results.members[0]!.name),
    );
  });

  it("tells how far a model is loaded, of the member that it is loaded for first", async () => {
    const told: unknown[] = [];
    const sweep: SweepSpec = { base, grid: { dtype: ["fp32", "bf16"] }, seeds: [1, 2] };
    await runSweep({
      ...{ sweep, folder: join(folder, "out") },
      onProgress: ({ config }, { phase, done, total }) => {
        if (phase === "loading" && done === total) told.push([config.dtype, config.seed]);
      },
    });
    expect(told).toEqual([
      ["fp32", 1],
      ["bf16", 1],
    ]);
  });

  it("loads a model once for all members that need it so, wherever they stand in the grid", async () => {
    const loaded: unknown[] = [];
    const sweep: SweepSpec = { base, grid: { u: [1, 3], dtype: ["fp32", "bf16"] } };
    await runSweep({
      ...{ sweep, folder: join(folder, "out"), population: 1 },
      onProgress: ({ config }, { phase, done, total }) => {
        if (phase === "loading" && done === total) loaded.push(config.dtype);
      },
    });
    expect(loaded).toEqual(["fp32", "bf16"]);
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

  it("reads a finished member once, however many come after it", async () => {
    const sweep: SweepSpec = { base, grid: { u: [1, 2] } };
    const [first] = (await planSweep(sweep)).members;
    const out = join(folder, "out");
    const { results } = await runSweep({
      ...{ sweep, folder: out, population: 1 },
      onMember: ({ event, place }) => {
        if (event === "starts" && place === 2) truncateSync(join(out, "members", first!.name, "metrics.jsonl"));
      },
    });
    expect(results.members.map(({ accuracy }) => accuracy)).toEqual([expect.any(Number), expect.any(Number)]);
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

  it("ends all members before it rejects with what a listener throws", async () => {
    let steps = 0;
    const running = runSweep({
      sweep: { base: { ...base, eval_steps: 1000 }, grid: { max_steps: [1, 1000] } },
      folder: join(folder, "out"),
      onMember: ({ event, place }) => {
        if (event === "finished" && place === 1) throw new Error("no more");
      },
      onStep: () => void steps++,
    });
    await expect(running).rejects.toThrow(/^no more$/);
    const made = steps;
    expect(await readdir(join(folder, "out"), { recursive: true })).not.toContainEqual(expect.stringMatching(/lock$/));
    await new Promise((resolve) => setTimeout(resolve, 300));
    expect(steps).toBe(made);
    const { members } = await readResults(join(folder, "out"));
    expect(members.map(({ status }) => status)).toEqual(["finished", "interrupted"]);
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
