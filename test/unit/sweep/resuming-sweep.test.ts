import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { mkdir, readdir, rm, writeFile } from "node:fs/promises";
import { hostname } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { runSweep, type SweepSpec } from "../../../lib/index.js";
import { readMetrics } from "../../../lib/run/metrics-file.js";
import { smallSweep } from "./small-sweep.js";

let folder: string;
let base: Readonly<Record<string, unknown>>;
beforeEach(async () => {
  ({ folder, base } = await smallSweep());
});
afterEach(() => rm(folder, { recursive: true, force: true }));

describe("a sweep that was stopped", () => {
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
    expect(await once(child, "close")).toEqual([null, "SIGKILL"]);

    const resumed = await runSweep({ sweep, folder: out });
    expect(resumed.results).toEqual(whole.results);
    for (const { name } of whole.results.members) {
      const metrics = (of: string) => readMetrics(join(of, "members", name));
      expect(await metrics(out)).toEqual(await metrics(join(folder, "whole")));
    }
  });
});
