import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parse } from "csv-parse/sync";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { plotFolders } from "../../../lib/index.js";
import type { MemberResult } from "../../../lib/sweep/results-file.js";
import { writeResults } from "../../../lib/sweep/results-file.js";
import { bestOfEach } from "../../../lib/sweep/select.js";

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "tinylora-plot-"));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

interface Given {
  method?: "grpo" | "sft";
  adapter?: string;
  u?: number;
  v_dtype?: string;
  rate: number;
  seed: number;
  accuracy: number | null;
  model?: string;
  base?: number;
}

/** The results of a sweep, as if these members had run. */
async function writeSweep(name: string, given: readonly Given[]): Promise<string> {
  const members = given.map(
    ({ method = "grpo", adapter = "tinylora", u, v_dtype = "fp32", rate, seed, accuracy, model, base = 0.25 }, i) => {
      const full = adapter === "full";
      const parameters = full ? 1e6 : (u ?? 1);
      const member: MemberResult = {
        name: `member-${i}`,
        method,
        settings: {
          adapter,
          method,
          u: full ? null : (u ?? 1),
          r: 2,
          v_dtype,
          learning_rate: rate,
          model: model ?? null,
        },
        seed,
        status: accuracy === null ? "failed" : "finished",
        step: 1,
        parameters,
        bytes: parameters * (v_dtype === "fp32" ? 4 : 2),
        base,
        accuracy,
      };
      return member;
    },
  );
  const groups = members.map(({ method, settings: { learning_rate: _, ...rest } }) => JSON.stringify([method, rest]));
  const results = {
    ...{ format: 1 as const, source: "sweep.yaml", metric: "eval/lenient", best_of: ["learning_rate"] },
    ...{ varied: ["method", "adapter", "u", "v_dtype", "learning_rate", "model"], members },
    settings: bestOfEach(members, groups, ["learning_rate"]),
  };
  await writeResults(join(folder, name), results);
  return join(folder, name);
}

async function writeRun(path: string, lines: readonly object[]): Promise<string> {
  await mkdir(path, { recursive: true });
  await writeFile(join(path, "config.json"), "{}");
  await writeFile(join(path, "metrics.jsonl"), lines.map((line) => `${JSON.stringify(line)}\n`).join(""));
  return path;
}

const output = () => join(folder, "plots");
const rows = async (name: string) =>
  parse(await readFile(join(output(), `${name}.csv`), "utf8"), { columns: true }) as Record<string, string>[];

describe("accuracy against trainable parameters", () => {
  it("takes the rate that is best over all its seeds, not the luckiest run, and none that lacks a seed", async () => {
    const sweep = await writeSweep("sweep", [
      { u: 13, rate: 0.1, seed: 1, accuracy: 0.9 }, // the luckiest run
      { u: 13, rate: 0.1, seed: 2, accuracy: 0.1 },
      { u: 13, rate: 0.01, seed: 1, accuracy: 0.6 },
      { u: 13, rate: 0.01, seed: 2, accuracy: 0.7 },
      { u: 13, rate: 0.02, seed: 1, accuracy: 0.8 },
      { u: 13, rate: 0.02, seed: 2, accuracy: null }, // failed
    ]);
    await plotFolders({ folders: [sweep], output: output() });
    const [point] = (await rows("accuracy")).filter(({ kind }) => kind === "setting");
    expect(point).toMatchObject({ series: "GRPO", parameters: "13", learning_rate: "0.01", low: "0.6", high: "0.7" });
    expect(Number(point!.accuracy)).toBeCloseTo(0.65);
    expect(Number(point!.deviation)).toBeCloseTo(Math.SQRT1_2 / 10);
    expect(await readFile(join(sweep, "results.md"), "utf8")).toMatch(/\| 0\.01 \| 65\.0 % ± 7\.1 \| 2 of 2 \|/);
  });

  it("draws GRPO and SFT over sizes, and the base model and full fine-tuning as lines", async () => {
    const sizes = [1, 13, 1000].flatMap((u, i) => [
      { method: "grpo" as const, u, rate: 1, seed: 1, accuracy: 0.5 + 0.1 * i },
      { method: "sft" as const, u, rate: 1, seed: 1, accuracy: 0.3 + 0.1 * i },
    ]);
    const full = { adapter: "full", rate: 1, seed: 1, accuracy: 0.95 };
    const sweep = await writeSweep("sweep", [...sizes, full]);
    const paths = await plotFolders({ folders: [sweep], output: output() });
    expect(paths).toContain(join(output(), "accuracy"));

    const found = await rows("accuracy");
    expect(found.filter(({ kind }) => kind === "setting")).toHaveLength(6);
    expect(
      found.filter(({ kind }) => kind === "reference").map(({ reference, accuracy }) => [reference, accuracy]),
    ).toEqual([
      ["base model", "0.25"],
      ["full fine-tuning, GRPO", "0.95"],
    ]);
    const svg = await readFile(join(output(), "accuracy.svg"), "utf8");
    for (const text of ["trainable parameters", "GRPO", "SFT", "base model", "full fine-tuning, GRPO", "1,000"]) {
      expect(svg).toContain(`>${text}<`);
    }
    const png = await readFile(join(output(), "accuracy.png"));
    expect(png.subarray(1, 4).toString()).toBe("PNG");
    expect(png.readUInt32BE(16)).toBeGreaterThan(1000); // pixels wide
  });

  it("does not draw a difference where means are equal but for their last bits", async () => {
    const runs = [0, 1, 2].map((seed) => ({ u: 13, rate: 1, seed, accuracy: 0.1 }));
    const sweep = await writeSweep("sweep", [...runs, { u: 1, rate: 1, seed: 0, accuracy: 0.1 }]);
    await plotFolders({ folders: [sweep], output: output() });
    const svg = await readFile(join(output(), "accuracy.svg"), "utf8");
    const ticks = [...svg.matchAll(/>([\d.]+)%</g)].map(([, tick]) => tick!);
    expect(ticks).toContain("10");
    for (const tick of ticks) expect(tick.length).toBeLessThan(5);
  });

  it("tells sweeps apart, and types where bytes count", async () => {
    const one = (v_dtype: string) => ({ u: 13, v_dtype, rate: 1, seed: 1, accuracy: 0.5 });
    const a = await writeSweep("a", [one("fp32"), one("bf16")]);
    const b = await writeSweep("b", [one("fp32")]);
    await plotFolders({ folders: [a, b], output: output() });
    const bytes = (await rows("accuracy-bytes")).filter(({ kind }) => kind === "setting");
    expect(bytes.map(({ series, bytes }) => [series, bytes])).toEqual([
      ["a: GRPO fp32", "52"],
      ["a: GRPO bf16", "26"],
      ["b: GRPO", "52"],
    ]);
  });
});

describe("what is drawn", () => {
  const points = async (name: string) => {
    const svg = await readFile(join(output(), `${name}.svg`), "utf8");
    const mark = /aria-roledescription="point" transform="translate\(([-\d.]+),([-\d.]+)\)"/g;
    return { svg, at: [...svg.matchAll(mark)].map(([, x, y]) => [Number(x), Number(y)] as const) };
  };

  it("stands where its numbers say: sizes by their logarithm, bars from the worst seed to the best", async () => {
    const given = [1, 10, 1000].flatMap((u, i) =>
      [0, 0.1].map((more, seed) => ({ u, rate: 1, seed, accuracy: 0.3 + 0.2 * i + more })),
    );
    await plotFolders({ folders: [await writeSweep("sweep", given)], output: output() });
    const { svg, at } = await points("accuracy");
    const [[x0, y0], [x1, y1], [x2, y2]] = at as [(typeof at)[0], (typeof at)[0], (typeof at)[0]];
    expect((x1 - x0) / (x2 - x0)).toBeCloseTo(1 / 3, 9);
    expect((y1 - y0) / (y2 - y0)).toBeCloseTo(1 / 2, 9);
    const unit = (y2 - y0) / 0.4; // of accuracy; upwards is less
    const rule = /reference: base model" [^>]*translate\([-\d.]+,([-\d.]+)\)/.exec(svg)!;
    expect(Number(rule[1])).toBeCloseTo(y0 + unit * (0.25 - 0.35), 6);
    const bars = [...svg.matchAll(/high: [^>]*translate\(([-\d.]+),([-\d.]+)\)" x2="0" y2="([-\d.]+)"/g)];
    expect(bars.map(([, x, y, height]) => [Number(x), Number(y), Number(height)])).toEqual(
      at.map(([x, y]) => [x, expect.closeTo(y - 0.05 * unit, 6), expect.closeTo(0.1 * unit, 6)]),
    );
  });

  it("has a line and a base of its own for each model", async () => {
    const given = ["small", "large"].flatMap((model, i) =>
      [1, 13].map((u) => ({ u, model, rate: 1, seed: 1, base: 0.1 + 0.3 * i, accuracy: 0.5 + 0.2 * i })),
    );
    await plotFolders({ folders: [await writeSweep("sweep", given)], output: output() });
    const found = await rows("accuracy");
    expect(found.map(({ series, reference, accuracy }) => [series || reference, Number(accuracy)])).toEqual([
      ["GRPO model=small", 0.5],
      ["GRPO model=small", 0.5],
      ["GRPO model=large", 0.7],
      ["GRPO model=large", 0.7],
      ["base model, model=small", 0.1],
      ["base model, model=large", expect.closeTo(0.4)],
    ]);
  });

  it("names every line in full, each in a colour of its own", async () => {
    const given = Array.from({ length: 12 }, (_, i) => ({ u: i + 1, rate: 1e-7 * (i + 1), seed: 1, accuracy: 0.5 }));
    const model = "models/".padEnd(90, "m");
    const sweep = await writeSweep("sweep", [...given, { u: 99, model, rate: 1, seed: 1, accuracy: 0.5 }]);
    for (let i = 0; i < 13; i++) {
      const steps = [1, 2].map((step) => ({ step, reward: i + step }));
      await writeRun(join(sweep, "members", `member-${i}`), steps);
    }
    await plotFolders({ folders: [sweep], output: output() });
    const svg = await readFile(join(output(), "reward.svg"), "utf8");
    expect(svg).toContain(`>GRPO u=99 model=${model} learning_rate=1<`);
    const strokes = [...svg.matchAll(/aria-roledescription="line mark"[^>]* stroke="([^"]+)"/g)].map(([, one]) => one);
    expect(new Set(strokes).size).toBe(13);
    const labels = [...svg.matchAll(/>GRPO u=(\d+) /g)].map(([, u]) => Number(u));
    expect(labels).toEqual([...given.map(({ u }) => u), 99]); // in the order of the sweep
  });
});

describe("ablations", () => {
  it("are drawn over what a sweep varies, one line for each setting of the rest", async () => {
    const sweep = await writeSweep("sweep", [
      { u: 13, v_dtype: "fp32", rate: 1, seed: 1, accuracy: 0.6 },
      { u: 1, v_dtype: "fp32", rate: 1, seed: 1, accuracy: 0.5 },
      { u: 1, v_dtype: "bf16", rate: 1, seed: 1, accuracy: 0.4 },
    ]);
    await plotFolders({ folders: [sweep], output: output() });
    expect((await readdir(output())).filter((name) => /^ablation.*svg$/.test(name))).toEqual([
      "ablation-u.svg",
      "ablation-v_dtype.svg",
    ]);
    expect((await rows("ablation-u")).map(({ series, value }) => [series, value])).toEqual([
      ["GRPO v_dtype=fp32", "13"],
      ["GRPO v_dtype=fp32", "1"],
      ["GRPO v_dtype=bf16", "1"],
    ]);
    const refusal = (folders: string[], by: string[]) =>
      plotFolders({ folders, output: output(), by }).catch(({ message }) => message);
    const able = "expected an option with two finished values in the sweep: here u, v_dtype";
    for (const key of ["r", "learning_rate", "v-dtype"]) {
      expect(await refusal([sweep], ["u", key])).toBe(`by: ${key}: ${able}`);
    }
    const early = await writeSweep("early", [{ rate: 1, seed: 1, accuracy: 0.6 }]);
    expect(await refusal([early], ["u"])).toMatch(/in the sweep: here none yet$/);
    const run = await writeRun(join(folder, "run"), [{ step: 1, reward: 1 }]);
    expect(await refusal([run], ["u"])).toBe("by: u: expected the folder of a sweep, found runs alone");
  });
});

describe("curves", () => {
  it("of runs whose folders have the same name are told apart by their paths", async () => {
    const steps = (reward: number) => [1, 2].map((step) => ({ step, reward }));
    const [a, b] = [join(folder, "a", "run"), join(folder, "b", "run")];
    await writeRun(a, steps(0.25));
    await writeRun(b, steps(0.5));
    await plotFolders({ folders: [a, b], output: output() });
    expect((await rows("reward")).map(({ series, mean }) => [series, mean])).toEqual([
      ...[1, 2].map(() => [a, "0.25"]),
      ...[1, 2].map(() => [b, "0.5"]),
    ]);
  });

  it("show runs side by side, and hold what they show as CSV", async () => {
    const lines = [1, 2].map((step) => ({ step, reward: step / 4, "completions/mean_length": 10 * step, kl: null }));
    const a = await writeRun(join(folder, "a"), [{ step: 0, "eval/lenient": 0.5 }, ...lines]);
    const b = await writeRun(join(folder, 'the "new", b'), lines);
    const paths = await plotFolders({ folders: [a, b], output: output() });
    expect(paths.map((path) => path.slice(output().length + 1))).toEqual(["reward", "length", "held-out"]);
    const reward = await rows("reward");
    expect(reward.map(({ series, step, mean }) => [series, step, mean])).toEqual([
      ["a", "1", "0.25"],
      ["a", "2", "0.5"],
      ['the "new", b', "1", "0.25"],
      ['the "new", b', "2", "0.5"],
    ]);
  });

  it("of a sweep run over the steps that all seeds of the best rate have, with their spread", async () => {
    const sweep = await writeSweep("sweep", [
      { rate: 1, seed: 1, accuracy: 0.5 },
      { rate: 1, seed: 2, accuracy: 0.5 },
      { rate: 2, seed: 1, accuracy: 0.1 },
      { rate: 2, seed: 2, accuracy: 0.1 },
    ]);
    const steps = (rewards: number[]) => rewards.map((reward, i) => ({ step: i + 1, reward }));
    await writeRun(join(sweep, "members", "member-0"), steps([0.1, 0.2, 0.9]));
    await writeRun(join(sweep, "members", "member-1"), steps([0.3, 0.2]));
    await writeRun(join(sweep, "members", "member-2"), steps([9, 9]));
    await plotFolders({ folders: [sweep], output: output() });
    const reward = await rows("reward");
    expect(reward.map(({ step, mean, low, high, runs }) => [step, Number(mean), low, high, runs])).toEqual([
      ["1", 0.2, "0.1", "0.3", "2"],
      ["2", 0.2, "0.2", "0.2", "2"],
    ]);
  });

  it("warns of a member whose folder is gone, and draws the rest", async () => {
    const sweep = await writeSweep("sweep", [
      { rate: 1, seed: 1, u: 1, accuracy: 0.5 },
      { rate: 1, seed: 1, u: 2, accuracy: 0.5 },
    ]);
    await writeRun(join(sweep, "members", "member-0"), [{ step: 1, reward: 0.5 }]);
    const warnings: string[] = [];
    const onWarning = (message: string) => warnings.push(message);
    await plotFolders({ folders: [sweep], output: output(), onWarning });
    expect(warnings.filter((one) => !one.includes("fonts"))).toEqual([
      expect.stringMatching(/member-1: no metrics: GRPO .*u=2 .*is drawn without curves$/),
    ]);
    expect((await rows("reward")).map(({ series }) => series)).toEqual([expect.stringContaining("u=1")]);
  });
});

describe("folders that hold nothing to draw", () => {
  it("are named", async () => {
    await expect(plotFolders({ folders: [folder], output: output() })).rejects.toThrow(
      /expected the folder of a sweep \(results\.json\) or of a run \(config\.json\), found neither/,
    );
    const unfinished = await writeSweep("sweep", [{ rate: 1, seed: 1, accuracy: null }]);
    await expect(plotFolders({ folders: [unfinished], output: output() })).rejects.toThrow(/nothing to draw yet/);
    await expect(plotFolders({ folders: ["a/sweep.yaml"], output: output() })).rejects.toThrow(
      /^a\/sweep\.yaml: expected a folder: run `sweep a\/sweep\.yaml` first/,
    );
    const broken = join(folder, "broken");
    await mkdir(broken);
    await writeFile(join(broken, "results.json"), "{");
    await expect(plotFolders({ folders: [broken], output: output() })).rejects.toThrow(/broken.results\.json: not the/);
  });
});
