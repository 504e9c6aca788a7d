// sweep and plot as a user calls them, with the embedded model.
import { existsSync } from "node:fs";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { lines, ROOT, runCli } from "./run.js";

let folder: string;
let file: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "tinylora-sweep-"));
  file = await writeSweep("sweep.yaml", "u: [1, 2]", 2);
});
afterAll(() => rm(folder, { recursive: true }));

async function writeSweep(name: string, grid: string, steps: number): Promise<string> {
  const path = join(folder, name);
  const base = `model: embedded, data: embedded, shots: 0, num_prompts: 2, num_generations: 2, max_completion_length: 16, max_steps: ${steps}, eval_steps: ${steps}, eval_examples: 4`;
  await writeFile(path, `base: { ${base} }\nseeds: [1]\ngrid: { ${grid}, learning_rate: 0.01 }\n`);
  return path;
}

describe("sweep and plot", () => {
  it("trains every member once, then draws the results", async () => {
    const sweep = ["sweep", file, "--folder", join(folder, "run")];
    const first = await runCli(sweep);
    expect(first.code).toBe(0);
    expect(first.stdout).toMatch(/1\/2 finished \S*u=1\b/);
    expect(first.stdout).toMatch(/2\/2 finished \S*u=2\b/);
    const again = await runCli(sweep);
    expect(again.stdout.match(/skipped/g)).toHaveLength(2);
    expect(again.stdout).not.toContain("starts");

    const plots = join(folder, "plots");
    const { code, stdout } = await runCli(["plot", join(folder, "run"), "--output", plots]);
    expect(code).toBe(0);
    expect(stdout).toContain("accuracy.svg");
    expect(await readFile(join(plots, "accuracy.svg"), "utf8")).toMatch(/^<svg/);
    expect(lines(await readFile(join(plots, "accuracy.csv"), "utf8"))).toHaveLength(1 + 2 + 1); // header, points, base model
  });

  it("trains the members of the manual's file", async () => {
    const manual = await readFile(join(ROOT, "docs", "sweeps.md"), "utf8");
    const example = /```yaml\n([\s\S]*?)```/.exec(manual)![1]!;
    const short = example
      .replace("max_steps: 40", "max_steps: 1, num_prompts: 2, eval_examples: 4")
      .replace("seeds: [1, 2, 3]", "seeds: [1]");
    const path = join(folder, "manual.yaml");
    await writeFile(path, short);
    const { code, stdout, stderr } = await runCli(["sweep", path, "--folder", join(folder, "manual")]);
    expect(stderr).not.toContain("error");
    expect(code).toBe(0);
    expect(stdout.match(/ finished /g)).toHaveLength(12);
  });

  it("stops at Ctrl-C and goes on to the bits of a sweep that was not stopped", async () => {
    const long = await writeSweep("long.yaml", "u: [1, 2]", 12);
    const [stopped, straight] = [join(folder, "stopped"), join(folder, "straight")];
    const sweep = (to: string) => ["sweep", long, "--data", "embedded", "--folder", to]; // what comes over the base
    const interrupted = await runCli(sweep(stopped), { interruptAfter: "2/2 starts" });
    expect(interrupted.code).toBe(130);
    expect(interrupted.stdout).toContain("1/2 finished");
    expect(interrupted.stderr).toContain(`go on with \`npx tinylora-native ${sweep(stopped).join(" ")}\``);
    expect(interrupted.stdout).not.toContain("2/2 finished");

    const resumed = await runCli(sweep(stopped));
    expect(resumed.code).toBe(0);
    expect(resumed.stdout).toMatch(/1\/2 skipped/);
    expect(resumed.stdout).toMatch(/2\/2 finished/);
    await runCli(sweep(straight));
    const results = (from: string) => readFile(join(from, "results.json"), "utf8");
    expect(await results(stopped)).toBe(await results(straight));
  });

  it("tells every fault of a file before anything runs", async () => {
    const wrong = await writeSweep("wrong.yaml", "u: [1, 0]", 2);
    const { code, stderr } = await runCli(["sweep", wrong, "--folder", join(folder, "never")]);
    expect(code).not.toBe(0);
    expect(stderr).toMatch(/wrong\.yaml: .*u: .*in 1 of 2 members/);
    expect(existsSync(join(folder, "never"))).toBe(false);
    const missing = await runCli(["sweep", join(folder, "nothing.yaml")]);
    expect(missing.code).not.toBe(0);
    expect(lines(missing.stderr)).toHaveLength(1);
  });

  it.each([
    ["gpu", "device: expected cpu, cuda, cuda:N, cudasim or reference"],
    ["cuda", "cuda: no NVIDIA driver: cannot open /nowhere.so"],
    ["cuda:3", "cuda: no NVIDIA driver: cannot open /nowhere.so"],
  ])("--device %s: one error before anything runs, in a dry run too", async (device, message) => {
    const sweep = await writeSweep("device.yaml", "u: [1, 2]", 2);
    const args = ["sweep", sweep, "--folder", join(folder, "no-device"), "--device", device];
    for (const more of [[], ["--dry-run"]]) {
      const { code, stderr } = await runCli([...args, ...more], { env: { TINYLORA_CUDA_DRIVER: "/nowhere.so" } });
      expect(code).toBe(1);
      expect(stderr).toContain(`device.yaml: ${message}`);
      expect(lines(stderr)).toHaveLength(1);
    }
    expect(existsSync(join(folder, "no-device"))).toBe(false);
  });

  it("plot says what it expected to find", async () => {
    const { code, stderr } = await runCli(["plot", folder]);
    expect(code).not.toBe(0);
    expect(stderr).toContain("expected the folder of a sweep (results.json) or of a run (config.json)");
  });
});
