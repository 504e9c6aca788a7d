import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { PassThrough } from "node:stream";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { Progress } from "../../bin/progress.js";
import { lines, runCli } from "./run.js";

const said: string[] = [];
beforeEach(() => {
  said.length = 0;
  vi.useFakeTimers();
  vi.spyOn(console, "error").mockImplementation((line: string) => void said.push(line));
});
afterEach(() => {
  vi.useRealTimers();
  vi.restoreAllMocks();
});

describe("progress without a terminal", () => {
  it("is a line each half minute, and none of short work", () => {
    const progress = new Progress("training", " steps");
    vi.advanceTimersByTime(29_000);
    progress.stop();
    vi.advanceTimersByTime(120_000);
    expect(said).toEqual([]);

    progress.update(2, 150, "sampling 3/64");
    vi.advanceTimersByTime(29_000);
    progress.update(3, 150, "sampling 4/64");
    expect(said).toEqual([]);
    vi.advanceTimersByTime(1_000);
    expect(said).toEqual(["training: 3 of 150 steps, 2 %, sampling 4/64, 2:59 so far, 2 h 25 min left"]);
    for (let i = 0; i < 60; i++) {
      progress.update(3, 150, `sampling ${i}/64`);
      vi.advanceTimersByTime(1_000);
    }
    expect(said.slice(1)).toHaveLength(2);
    progress.stop();
    vi.advanceTimersByTime(300_000);
    expect(said).toHaveLength(3);
  });

  it("tells hours, large numbers and what was done before, as of a run that is resumed", () => {
    const progress = new Progress("training", " steps", 1_000);
    vi.advanceTimersByTime(10_000);
    progress.update(1_001, 2_500_000);
    vi.advanceTimersByTime(20_000);
    expect(said).toEqual(["training: 1k of 2.5M steps, 0 %, 0:30 so far, 6941 h 39 min left"]);
    vi.advanceTimersByTime(3600_000 - 30_000);
    progress.update(2_000, 3_000);
    vi.advanceTimersByTime(30_000);
    expect(said.at(-1)).toBe("training: 2k of 3k steps, 67 %, 1 h 0 min so far, 59:30 left");
    progress.stop();
  });

  it("says that something goes on before anything is known of it, and after it began anew", () => {
    const progress = new Progress("loading", "B");
    vi.advanceTimersByTime(60_000);
    expect(said).toEqual(["loading: 0:30 so far", "loading: 1:00 so far"]);
    progress.update(1_500_000, 3_000_000);
    vi.advanceTimersByTime(30_000);
    expect(said[2]).toBe("loading: 1.5M of 3MB, 50 %, 1:30 so far, 0:30 left");
    progress.restart();
    vi.advanceTimersByTime(30_000);
    expect(said[3]).toBe("loading: 0:30 so far");
    progress.stop();
  });
});

describe("progress on a terminal", () => {
  /** What a terminal shows: lines between the letters that move the cursor. */
  function terminal(): { shown: () => string[] } {
    const stream = Object.assign(new PassThrough(), {
      ...{ isTTY: true, columns: 200, cursorTo: () => true, moveCursor: () => true, clearLine: () => true },
    });
    let written = "";
    stream.on("data", (chunk: Buffer) => {
      written += chunk;
    });
    vi.spyOn(process, "stderr", "get").mockReturnValue(stream as never);
    // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is taken away
    const shown = () => written.split(/(?:\u001b\[[?\d;]*[A-Za-z]|[\r\n])+/).filter((line) => line.trim() !== "");
    return { shown };
  }

  it("is a bar with its share, its rate and the time left, and no lines", () => {
    const { shown } = terminal();
    const progress = new Progress("training", " steps");
    vi.advanceTimersByTime(120_000);
    expect(shown()).toEqual([]);
    progress.update(0, 8);
    expect(shown().at(-1)).toBe(`training [${" ".repeat(24)}]   0 %  `);
    vi.advanceTimersByTime(120_000);
    progress.update(3, 8, "reward 0.5");
    vi.advanceTimersByTime(1_000);
    expect(shown().at(-1)).toMatch(/^training \[={9} {15}\] {2}38 % {2}0\.0125 steps\/s {2}6:39 left {2}reward 0\.5$/);
    progress.update(3, 0); // of nothing there is no share
    vi.advanceTimersByTime(1_000);
    expect(shown().at(-1)).toContain("38 %");
    progress.stop();
    const before = shown().length;
    vi.advanceTimersByTime(120_000);
    expect(shown()).toHaveLength(before);
    expect(said).toEqual([]);
  });

  it("takes a total that grew", () => {
    const { shown } = terminal();
    const progress = new Progress("loading", "B");
    progress.update(1, 2);
    progress.update(2, 8_000);
    vi.advanceTimersByTime(1_000);
    expect(shown().at(-1)).toContain(`[${" ".repeat(24)}]   0 %`);
    progress.stop();
  });
});

describe("commands without a terminal", () => {
  let folder: string;
  beforeEach(async () => {
    vi.useRealTimers();
    folder = await mkdtemp(join(tmpdir(), "tinylora-progress-"));
  });
  afterEach(() => rm(folder, { recursive: true }));

  /** A clock in which half a minute is a millisecond. */
  const first = "const { setInterval } = globalThis; globalThis.setInterval = (call) => setInterval(call, 1);";
  const run = (...args: string[]) =>
    runCli([...args, "--model", "embedded", "--shots", "0", "--max-completion-length", "64"], {
      env: { TINYLORA_CACHE: join(folder, "cache") },
      first,
    });

  it("bench ends at Ctrl-C, also within a measurement of an hour", async () => {
    const measure = ["bench", "--rows", "1", "--seconds", "3600", "--threads", "1"];
    const { code, stderr } = await runCli(measure, { first, interruptAfter: "bench: 0:" });
    expect(lines(stderr).at(-1)).toBe("interrupted");
    expect(code).toBe(130);
  });

  it("train says how far loading, the SVD and a step are", async () => {
    const flags = ["--num-prompts", "64", "--max-steps", "1", "--eval-steps", "0", "--run", join(folder, "run")];
    const { code, stderr } = await run("train", "--data", "embedded", ...flags);
    expect(code, stderr).toBe(0);
    expect(stderr).toMatch(/^training: 0 of 1 steps, 0 %, SVD \d+\/\d+, \d+:\d\d so far$/m);
    expect(stderr).toMatch(/^training: 0 of 1 steps, 0 %, sampling \d+\/512, \d+:\d\d so far$/m);
    expect(stderr).toMatch(/^training: 0 of 1 steps, 0 %, training \d+\/\d+, /m);
    for (const line of lines(stderr))
      expect(line).toMatch(/^(?:\w+: .* so far(?:, .* left)?|training tinylora of .* on .*)$/);
  });

  it("sweep says how far loading and the SVD of members side by side are, and then their steps", async () => {
    const sweep = join(folder, "sweep.json");
    const base = { data: "embedded", num_prompts: 16, max_steps: 2, eval_steps: 2, eval_examples: 10 };
    await writeFile(sweep, JSON.stringify({ base, seeds: [1, 2] }));
    const { code, stderr } = await runCli(["sweep", sweep, "--model", "embedded", "--folder", join(folder, "run")], {
      env: { TINYLORA_CACHE: join(folder, "cache") },
      first,
    });
    expect(code, stderr).toBe(0);
    expect(stderr).toMatch(/^loading: .*B, \d+ %, \d+:\d\d so far/m);
    expect(stderr).toMatch(/^training: 0 of 4 steps, 0 %, SVD \d+\/\d+, \d+:\d\d so far$/m);
    expect(stderr).toMatch(/^training: [1-4] of 4 steps, \d+ %, \d+:\d\d so far/m);
  });

  it("eval says how far it is", async () => {
    const oneAfterAnother = ["--max-sequences", "8"]; // all side by side could end between two lines
    const { code, stderr } = await run("eval", "--data", "embedded", "--limit", "200", ...oneAfterAnother);
    expect(code, stderr).toBe(0);
    expect(stderr).toMatch(/^evaluating embedded: \d+ of 200 completions, \d+ %, \d+:\d\d so far, \d+:\d\d left$/m);
  });
});
