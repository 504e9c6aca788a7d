import { mkdir, mkdtemp, readdir, readFile, rename, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { resolveConfig } from "../../../lib/config/config.js";
import { checkpointSteps, writeCheckpoint } from "../../../lib/run/checkpoint.js";
import { RunFolder } from "../../../lib/run/folder.js";
import { historyLine, MOST_KEPT } from "../../../lib/run/history.js";
import { readRunInfo } from "../../../lib/run/run-info.js";
import type { TrainState } from "../../../lib/train/state.js";
import { state, statesOf } from "./states-of.js";

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "tinylora-"));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

const nothing = async () => {};
const never = (message: string) => expect.fail(message);

describe("states of a run", () => {
  it("are those of v, where they are not too many", () => {
    const of = (numbers: number): TrainState => ({
      ...state(1),
      optimizer: { updates: 1, master: new Float32Array(numbers), moments: [] },
    });
    expect(historyLine(of(0))).toBeNull();
    expect(historyLine(of(MOST_KEPT + 1))).toBeNull();
    expect(historyLine(of(MOST_KEPT))!.length).toBeLessThan(11 * MOST_KEPT);
    const moments = [new Float64Array(1)];
    const more = { ...state(1), optimizer: { updates: 1, master: new Float32Array(MOST_KEPT), moments } };
    expect(historyLine(more)).toBeNull();
  });

  it("are read where there is one", async () => {
    await writeFile(join(folder, "states.jsonl"), historyLine(state(1))!);
    expect(await statesOf(folder)).toEqual([state(1)]);
  });

  it("refuses a line that was changed, and a run without any", async () => {
    await expect(statesOf(folder)).rejects.toThrow(/expected the states of the run's steps, found none/);
    const line = historyLine(state(1))!;
    await writeFile(
      join(folder, "states.jsonl"),
      historyLine(state(0))! + line.replace('"tokens":100', '"tokens":101'),
    );
    await expect(statesOf(folder)).rejects.toThrow(/line 2: not a state: the checksum does not fit/);
  });
});

describe("run folder", () => {
  const run = { method: "grpo", arithmetic: "cpu (avx2)" } as const;
  const info = {
    ...run,
    config: resolveConfig({ max_steps: 7 }),
    fingerprint: "0123456789abcdef",
    parameters: 4,
    ownRewards: ["mine"],
    problems: "0123456789abcdef",
    prompt: "0123456789abcdef",
  };
  const kept = {
    save: async (_: unknown, path: string) => void (await mkdir(path, { recursive: true })),
    load: nothing,
    publish: nothing,
  };

  it("keeps its config and takes away what came after the checkpoint", async () => {
    const run = await RunFolder.create(folder, info);
    for (const step of [0, 1, 2, 3]) {
      await run.appendMetrics({ step, reward: Number.NaN });
      await run.appendState(state(step));
      await run.writeCompletions(step, [{ step }]);
      if (step === 2) await run.saveCheckpoint(state(2), kept);
    }
    await run.close();
    await expect(RunFolder.create(folder, info)).rejects.toThrow(/holds a run already/);
    expect(await readRunInfo(folder)).toEqual(info);

    await (await RunFolder.open(folder, { max_steps: 2 })).close();
    const again = await RunFolder.open(folder, { max_steps: 9 });
    expect(again.info.config.max_steps).toBe(9);
    await expect(RunFolder.open(folder, { max_steps: 1 })).rejects.toThrow(
      /max_steps: expected at least 2, the steps made, found 1/,
    );
    expect((await again.restore(never, kept))!.step).toBe(2);
    expect(await readFile(join(folder, "metrics.jsonl"), "utf8")).toBe(
      [0, 1, 2].map((step) => `{"step":${step},"reward":null}\n`).join(""),
    );
    expect(await statesOf(folder)).toEqual([0, 1, 2].map(state));
    expect((await readdir(join(folder, "completions"))).sort()).toEqual([
      "step-0.jsonl",
      "step-1.jsonl",
      "step-2.jsonl",
    ]);
    await again.close();
    expect((await readRunInfo(folder)).config.max_steps).toBe(9);
  });

  it.each([
    ["cut off", (text: string) => text.slice(0, -20)],
    ["zeros", (text: string) => `${text.slice(0, -60)}${"\0".repeat(60)}`],
    ["lost", (text: string) => text.split("\n").slice(0, 2).join("\n").concat("\n")],
  ])("has the state of its checkpoint again where the last line was %s in a power cut", async (_, damage) => {
    const run = await RunFolder.create(folder, info);
    for (const step of [0, 1, 2]) await run.appendState(state(step));
    await run.saveCheckpoint(state(2), kept);
    await run.close();
    const path = join(folder, "states.jsonl");
    await writeFile(path, damage(await readFile(path, "utf8")));
    const again = await RunFolder.open(folder);
    await again.restore(never, kept);
    await again.appendState(state(3));
    await again.close();
    expect(await statesOf(folder)).toEqual([0, 1, 2, 3].map(state));
  });

  it("reads an older run whose options had no effect and were not refused yet", async () => {
    const config = { ...info.config, eval_steps: 0 };
    const idle = { eval_examples: 9, eval_data: "svamp", eval_question_column: "text" }; // the last only by the second
    await (await RunFolder.create(folder, { ...info, config: { ...config, ...idle } })).close();
    expect((await readRunInfo(folder)).config).toEqual(config);
  });

  it("stays open to others where it cannot be opened", async () => {
    const run = await RunFolder.create(folder, info);
    await run.close();
    // Written beside it, under a name that is longer still.
    const long = join(folder, "c".repeat(250));
    await rename(join(folder, "config.json"), long);
    await symlink(long, join(folder, "config.json"));
    await expect(RunFolder.open(folder, { max_steps: 9 })).rejects.toThrow(
      /config\.json: cannot be written \(ENAMETOOLONG/,
    );
    expect(await readdir(folder)).not.toContain("lock");
    await (await RunFolder.open(folder)).close();
  });

  it("goes on from the last checkpoint that is whole, and begins again where none is", async () => {
    const path = join(folder, "new", "run");
    const run = await RunFolder.create(path, info);
    for (const step of [1, 2]) {
      await run.appendMetrics({ step });
      await run.writeCompletions(step, []);
      await run.saveCheckpoint(state(step), kept);
    }
    const left = async () => ({
      checkpoints: await checkpointSteps(join(path, "checkpoints")),
      metrics: (await readFile(join(path, "metrics.jsonl"), "utf8")).match(/\d/g),
      completions: await readdir(join(path, "completions")),
    });
    const warnings: string[] = [];
    const restore = () => run.restore((message) => void warnings.push(message), kept);
    await writeFile(join(path, "checkpoints", "step-2", "state.json"), "");
    expect((await restore())!.step).toBe(1);
    expect(await left()).toEqual({ checkpoints: [1], metrics: ["1"], completions: ["step-1.jsonl"] });
    expect(warnings).toHaveLength(1);
    await writeFile(join(path, "checkpoints", "step-1", "state.json"), "");
    expect(await restore()).toBeNull();
    expect(await left()).toEqual({ checkpoints: [], metrics: null, completions: [] });
    expect(warnings[2]).toBe(`${path}: none of its checkpoints is whole: it begins again`);
    expect(await restore()).toBeNull();
    expect(warnings).toHaveLength(3);
    await run.close();
  });

  it("keeps everything where something cannot be read", async () => {
    const run = await RunFolder.create(folder, info);
    for (const step of [1, 2]) {
      await run.appendMetrics({ step });
      await run.saveCheckpoint(state(step), kept);
    }
    await run.close();
    const around = async (name: string, check: (run: RunFolder) => Promise<void>) => {
      const path = join(folder, name);
      await rename(path, `${path}.away`);
      await symlink(path, path);
      const opened = await RunFolder.open(folder).catch(() => null);
      if (opened) await check(opened).finally(() => opened.close());
      await rm(path);
      await rename(`${path}.away`, path);
      return opened !== null;
    };
    const refuses = (run: RunFolder) => expect(run.restore(never, kept)).rejects.toThrow(/cannot be read \(ELOOP/);
    expect(await around("checkpoints/step-2/state.json", refuses)).toBe(true);
    expect(await around("metrics.jsonl", refuses)).toBe(true);
    expect(await around("checkpoints", refuses)).toBe(false);
    const again = await RunFolder.open(folder);
    expect((await again.restore(never, kept))!.step).toBe(2);
    await again.close();
    expect(await readFile(join(folder, "metrics.jsonl"), "utf8")).toBe('{"step":1}\n{"step":2}\n');
    await rm(join(folder, "config.json"));
    await symlink("config.json", join(folder, "config.json"));
    await expect(RunFolder.create(folder, info)).rejects.toThrow(/config\.json: cannot be read \(ELOOP/);
  });

  it("keeps no state that is not of v", async () => {
    const run = await RunFolder.create(folder, info);
    const none = { updates: 1, master: new Float32Array(0), moments: [] };
    await run.appendState({ ...state(1), optimizer: none });
    await run.close();
    expect(await readdir(folder)).toEqual(["config.json"]);
  });

  it("has what was trained before the checkpoint that says so: killed between them, it makes the step again", async () => {
    const run = await RunFolder.create(folder, info);
    const killed = async () => {
      throw new Error("killed");
    };
    await expect(run.saveCheckpoint(state(7), { ...kept, publish: killed })).rejects.toThrow("killed");
    expect(await checkpointSteps(join(folder, "checkpoints"))).toEqual([]);
    await run.saveCheckpoint(state(7), kept);
    expect(await checkpointSteps(join(folder, "checkpoints"))).toEqual([7]);
    await run.close();
  });

  it("loses what killed processes had half written when it goes on", async () => {
    const run = await RunFolder.create(folder, info);
    await run.appendMetrics({ step: 1 });
    await run.saveCheckpoint(state(1), kept);
    await run.close();
    const left = ["", "adapter", "model", "completions", "checkpoints"].map((name) => join(folder, name));
    for (const path of left) {
      await mkdir(path, { recursive: true });
      await writeFile(join(path, ".file.json.123.0123abcd"), "ha");
      await writeFile(join(path, ".keep"), "");
    }
    const again = await RunFolder.open(folder);
    await again.restore(never, kept);
    await again.close();
    const names = await readdir(folder, { recursive: true });
    expect(names.filter((name) => name.includes("file.json"))).toEqual([]);
    const own = [".keep", "adapter/.keep", "completions/.keep", "model/.keep"];
    expect(names.filter((name) => name.endsWith(".keep")).sort()).toEqual(own);
  });

  it("leaves alone what somebody else has put beside its completions", async () => {
    const run = await RunFolder.create(folder, info);
    await run.writeCompletions(1, []);
    await mkdir(join(folder, "completions", "notes"));
    await run.restore(never, kept);
    await run.close();
    expect(await readdir(join(folder, "completions"))).toEqual(["notes"]);
  });

  it("keeps no more checkpoints than its limit, also where one was killed before it removed the oldest", async () => {
    const run = await RunFolder.create(folder, info);
    for (const step of [1, 2, 3, 4]) await writeCheckpoint(join(folder, "checkpoints"), state(step), 9, nothing);
    await run.restore(never, kept);
    await run.close();
    expect(await checkpointSteps(join(folder, "checkpoints"))).toEqual([4, 3, 2]);
  });

  it("refuses what is no run, or of another format", async () => {
    await expect(RunFolder.open(folder)).rejects.toThrow(/expected the folder of a run, found no config\.json/);
    await writeFile(join(folder, "config.json"), "{}");
    await expect(RunFolder.open(folder)).rejects.toThrow(/config\.json: not the config of a run/);
    await expect(RunFolder.create(folder, info)).rejects.toThrow(/config\.json: not the config of a run/);
    await writeFile(join(folder, "config.json"), JSON.stringify({ ...info, format: 2, package_version: "9" }));
    await expect(RunFolder.open(folder)).rejects.toThrow(/expected format 3, found 2/);
  });
});
