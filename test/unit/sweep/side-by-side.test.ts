import { rm } from "node:fs/promises";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { Adapter, Engine, planSweep, runSweep } from "../../../lib/index.js";
import { readMetrics } from "../../../lib/run/metrics-file.js";
import { sideBySide } from "../../../lib/sweep/side-by-side.js";
import { smallSweep } from "./small-sweep.js";

let folder: string;
/** What both methods use, and with what only GRPO does. */
let common: Readonly<Record<string, unknown>>;
let base: Readonly<Record<string, unknown>>;
beforeEach(async () => {
  ({ folder, common, base } = await smallSweep());
});
afterEach(() => rm(folder, { recursive: true, force: true }));

describe("members of a sweep", () => {
  it("trains side by side what shares U, S, V, and the rest one after another", async () => {
    const grid = [
      { u: [1, 2], projection_seed: [0, 1] },
      { adapter: ["lora", "full"], learning_rate: [0.1, 0.2] },
      { adapter: "lora_xs", r: 2, method: "sft" },
      { estimator: "evolution_strategies", sigma: 0.1 },
    ];
    const { members } = await planSweep({ base, grid, seeds: [1, 2] });
    const names = sideBySide(members).map((group) => group.map(({ settings }) => Object.values(settings).join(" ")));
    expect(names).toEqual([
      ["1 0", "1 0", "1 1", "1 1"],
      ["2 0", "2 0", "2 1", "2 1"],
      ...["lora 0.1", "lora 0.1", "lora 0.2", "lora 0.2"].map((name) => [name]),
      ...["full 0.1", "full 0.1", "full 0.2", "full 0.2"].map((name) => [name]),
      ["lora_xs 2 sft", "lora_xs 2 sft"],
      ...Array(2).fill(["evolution_strategies 0.1"]),
    ]);
    const wide = await planSweep({
      base,
      grid: { r: 16, u: 4096, projection_seed: Array.from({ length: 18 }, (_, i) => i) },
      seeds: [1, 2],
    });
    expect(sideBySide(wide.members).map((group) => group.length)).toEqual([32, 4]);
    await expect(runSweep({ sweep: { base }, folder, population: 0 })).rejects.toThrow(
      /population: expected .* found 0/,
    );
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
});
