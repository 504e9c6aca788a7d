// A disk that refuses to take a checkpoint: a limit on the size of files stands for a full one.
import { execFile } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { BIN, type CliResult, lines, ROOT, runCli } from "./run.js";

const TRAIN = [
  ...["train", "--model", "embedded", "--data", "embedded", "--shots", "0", "--adapter", "lora", "--r", "1"],
  ...["--num-prompts", "2", "--num-generations", "4", "--max-completion-length", "40", "--save-steps", "2"],
  ...["--eval-steps", "0", "--threads", "2", "--learning-rate", "0.01"],
];
/** Of bash, which warns of a locale that the system does not have. */
const env = { ...process.env, LC_ALL: "C" };
let folder: string;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "tinylora-disk-"));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

/** The command line with files of at most `kib` KiB: a write beyond fails with EFBIG. */
function withLimit(kib: number, args: readonly string[]): Promise<CliResult> {
  const script = `trap '' XFSZ; ulimit -f ${kib}; exec "$@"`;
  const command = ["-c", script, "bash", process.execPath, BIN, ...args];
  return new Promise((resolve) => {
    const child = execFile("bash", command, { cwd: ROOT, env }, (_, stdout, stderr) => {
      resolve({ code: child.exitCode, stdout, stderr });
    });
  });
}

const steps = async (run: string) => (await readdir(join(run, "checkpoints"))).sort();

const hasFull = existsSync("/dev/full");
const full = "says that standard output cannot be written";
it.skipIf(!hasFull)(hasFull ? full : `${full} (left out: there is no /dev/full)`, async () => {
  const { code, stderr } = await new Promise<{ code: number | null; stderr: string }>((resolve) => {
    const command = ["-c", 'exec "$@" > /dev/full', "bash", process.execPath, BIN, "info", "--model", "embedded"];
    const child = execFile("bash", command, { env }, (_, __, said) => resolve({ code: child.exitCode, stderr: said }));
  });
  expect(stderr).toBe("error: standard output: cannot be written (ENOSPC)\n");
  expect(code).toBe(1);
});

describe("train", () => {
  it("says which file a full disk did not take, and the run goes on to the same bits", async () => {
    const [straight, stopped] = [join(folder, "straight"), join(folder, "stopped")];
    expect((await runCli([...TRAIN, "--max-steps", "4", "--run", straight])).code).toBe(0);
    expect((await runCli([...TRAIN, "--max-steps", "2", "--run", stopped])).code).toBe(0);

    const resume = ["train", "--resume", stopped, "--max-steps", "4"];
    const { code, stderr } = await withLimit(64, resume);
    expect(code).toBe(1);
    expect(lines(stderr).at(-1)).toMatch(
      /^error: .*weights\.safetensors: cannot be written \(EFBIG: file too large\)$/,
    );
    expect(stderr).not.toContain("    at ");
    expect(await steps(stopped)).toEqual(["step-0", "step-2"]);

    expect((await runCli(resume)).code).toBe(0);
    const adapter = (run: string) => readFile(join(run, "adapter", "adapter.safetensors"));
    expect(await adapter(stopped)).toEqual(await adapter(straight));
    expect(await steps(stopped)).toEqual(await steps(straight));
  });

  it("says that a run folder cannot be made", async () => {
    await writeFile(join(folder, "file"), "");
    const { code, stderr } = await runCli([...TRAIN, "--max-steps", "1", "--run", join(folder, "file", "run")]);
    expect(code).toBe(1);
    expect(stderr).toBe(`error: ${join(folder, "file")}: expected a folder, found a file\n`);
  });
});

// Where /proc takes no folders, mkdir of Node with `recursive` never comes back.
describe("a folder that takes no new ones", () => {
  const nowhere = "/proc/nowhere/out";
  let run: string;
  beforeAll(async () => {
    run = join(folder, "thirteen");
    const tiny = [
      "--adapter",
      "tinylora",
      "--u",
      "13",
      "--num-prompts",
      "1",
      "--num-generations",
      "2",
      "--max-steps",
      "1",
    ];
    const args = ["train", "--model", "embedded", "--data", "embedded", "--shots", "0", ...tiny, "--eval-steps", "0"];
    expect((await runCli([...args, "--max-completion-length", "8", "--run", run])).code).toBe(0);
    await writeFile(
      join(folder, "sweep.yaml"),
      "base: { model: embedded, data: embedded, shots: 0 }\ngrid: { u: [1] }\n",
    );
  });

  it.each<[string, () => string[]]>([
    ["train", () => [...TRAIN, "--run", nowhere]],
    ["sft", () => ["sft", "--model", "embedded", "--data", "embedded", "--shots", "0", "--run", nowhere]],
    [
      "eval",
      () => ["eval", "--model", "embedded", "--data", "embedded", "--shots", "0", "--report", `${nowhere}/a.md`],
    ],
    ["sweep", () => ["sweep", join(folder, "sweep.yaml"), "--folder", nowhere]],
    ["plot", () => ["plot", run, "--output", nowhere]],
    ...["lora", "peft", "merged"].map((format): [string, () => string[]] => [
      `export of ${format}`,
      () => ["export", "--model", "embedded", "--adapter", run, "--format", format, "--output", nowhere],
    ]),
    [
      "export of gguf",
      () => ["export", "--model", "embedded", "--adapter", run, "--format", "gguf", "--output", `${nowhere}/a.gguf`],
    ],
  ])("ends %s with one sentence", async (_, args) => {
    const { code, stderr } = await runCli(args());
    expect(code).toBe(1);
    expect(lines(stderr).at(-1)).toMatch(/^error: \/proc(?:\/nowhere\S*)?: cannot be written \(E[A-Z]+: [^)]+\)$/);
    expect(stderr).not.toContain("    at ");
  });
});
