import { createHash } from "node:crypto";
import { mkdir, mkdtemp, readdir, readFile, rename, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { resolveConfig } from "../../../lib/config/config.js";
import {
  checkpointSteps,
  decodeCheckpoint,
  encodeState,
  latestCheckpoint,
  writeCheckpoint,
} from "../../../lib/run/checkpoint.js";
import { RunFolder, readRunInfo } from "../../../lib/run/folder.js";
import { historyLine, MOST_KEPT } from "../../../lib/run/history.js";
import type { TrainState } from "../../../lib/train/run.js";
import { statesOf } from "./states-of.js";

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "tinylora-"));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

const state = (step: number): TrainState => ({
  step,
  tokens: 100 * step,
  optimizer: {
    updates: step,
    master: Float32Array.of(step, -0, 1e-42, 0.1),
    moments: [Float64Array.of(1 / 3, -0, 5e-324, step), Float64Array.of(0, 1, 2, 3)],
  },
  lastGradient: step === 0 ? null : Float64Array.of(0.1, 0.2, 0.3, 0.4),
});
const nothing = async () => {};
const never = (message: string) => expect.fail(message);

describe("checkpoints", () => {
  it("give back every bit", async () => {
    for (const step of [0, 3]) {
      await writeCheckpoint(folder, state(step), 9, nothing);
      expect(await latestCheckpoint(folder, never, nothing)).toStrictEqual(state(step));
    }
    const numbers = Float64Array.from({ length: 13 }, (_, i) => 1 / (i + 3));
    const optimizer = { updates: 4, master: Float32Array.from(numbers), moments: [numbers] };
    const longer = { ...state(4), optimizer, lastGradient: numbers };
    await writeCheckpoint(folder, longer, 9, nothing);
    expect(await latestCheckpoint(folder, never, nothing)).toStrictEqual(longer);
  });

  it("keep the newest", async () => {
    for (const step of [1, 2, 9, 10, 11]) await writeCheckpoint(folder, state(step), 2, nothing);
    expect(await checkpointSteps(folder)).toEqual([11, 10]);
    expect((await readdir(folder)).sort()).toEqual(["step-10", "step-11"]);
  });

  it("have names of their own: others are none", async () => {
    await writeCheckpoint(folder, state(1), 9, nothing);
    for (const name of ["step-007", "step-1e3", "step-99999999999999999999"]) await mkdir(join(folder, name));
    expect(await checkpointSteps(folder)).toEqual([1]);
  });

  it("are there whole or not at all", async () => {
    await writeCheckpoint(folder, state(1), 2, nothing);
    const fails = writeCheckpoint(folder, state(2), 2, async (temporary) => {
      await writeFile(join(temporary, "adapter.json"), "half");
      throw new Error("disk full");
    });
    await expect(fails).rejects.toThrow("disk full");
    expect(await readdir(folder)).toEqual(["step-1"]);
    expect((await latestCheckpoint(folder, never, nothing))!.step).toBe(1);
    await writeCheckpoint(folder, state(2), 2, nothing);
    expect((await latestCheckpoint(folder, never, nothing))!.step).toBe(2);
  });

  const sha256 = (text: string) => createHash("sha256").update(text).digest("hex");
  it.each<[string, (text: string) => string, string]>([
    ["cut off", (text) => text.slice(0, text.length / 2), ""],
    ["empty", () => "", ""],
    ["changed", (text) => text.replace('"tokens": 200', '"tokens": 201'), "the checksum does not fit"],
    ["without a checksum", () => '{"state": {}}', "expected a state and its checksum"],
    ["of another shape", () => `{"sha256": "${sha256("{}")}", "state": {}}`, "its state is of another shape"],
    ["of another step", () => JSON.stringify(encodeState(state(3))), "expected step 2, found 3"],
  ])("that are %s are passed over with a warning", async (_, damage, reason) => {
    await writeCheckpoint(folder, state(1), 2, nothing);
    await writeCheckpoint(folder, state(2), 2, nothing);
    const path = join(folder, "step-2", "state.json");
    await writeFile(path, damage(await readFile(path, "utf8")));
    const warnings: string[] = [];
    expect((await latestCheckpoint(folder, (message) => void warnings.push(message), nothing))!.step).toBe(1);
    expect(warnings[0]).toMatch(/step-2.*not a whole checkpoint/);
    expect(warnings[0]).toContain(reason);
  });

  it("without room in memory are not proven bad", () => {
    const full = () => {
      throw new RangeError("Array buffer allocation failed");
    };
    expect(() => decodeCheckpoint("state.json", full)).toThrow(RangeError);
  });

  it("that cannot be read now are not passed over", async () => {
    for (const step of [1, 2]) await writeCheckpoint(folder, state(step), 2, nothing);
    const busy = async () => {
      throw Object.assign(new Error("EMFILE: too many open files, open 'x'"), { code: "EMFILE", syscall: "open" });
    };
    await expect(latestCheckpoint(folder, never, busy)).rejects.toThrow(
      /EMFILE: too many open files.*step-2 is not proven bad and all is kept/,
    );
    const path = join(folder, "step-2", "state.json");
    await rename(path, `${path}.away`);
    await symlink(path, path);
    await expect(latestCheckpoint(folder, never, nothing)).rejects.toMatchObject({
      code: "ERR_FILE",
      message: expect.stringMatching(
        /step-2.state\.json: cannot be read \(ELOOP: [^)]*\); checkpoint step-2 is not proven bad/,
      ),
    });
    await rename(`${path}.away`, path);
    expect((await latestCheckpoint(folder, never, nothing))!.step).toBe(2);
  });

  it("without a file are passed over", async () => {
    for (const step of [1, 2]) await writeCheckpoint(folder, state(step), 2, nothing);
    const path = join(folder, "step-2", "state.json");
    await rm(path);
    const remove = [nothing, () => mkdir(path)]; // not there, and a folder of its name
    for (const next of remove) {
      await next();
      const warnings: string[] = [];
      expect((await latestCheckpoint(folder, (message) => void warnings.push(message), nothing))!.step).toBe(1);
      expect(warnings[0]).toMatch(/step-2.state\.json: not a whole checkpoint: no such file$/);
    }
  });
});

describe("states of a run", () => {
  it("are those of v, where they are not too many", () => {
    const of = (numbers: number): TrainState => ({
      ...state(1),
      optimizer: { updates: 1, master: new Float32Array(numbers), moments: [] },
    });
    expect(historyLine(of(0))).toBeNull();
    expect(historyLine(of(MOST_KEPT + 1))).toBeNull();
    expect(historyLine(of(MOST_KEPT))!.length).toBeLessThan(11 * MOST_KEPT);
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
  const info = { ...run, config: resolveConfig({ max_steps: 7 }), fingerprint: "0123456789abcdef", parameters: 4 };
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
    expect(names.filter((name) => name.endsWith(".keep")).sort()).toEqual([".keep", "adapter/.keep", "model/.keep"]);
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
