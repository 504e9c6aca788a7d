// The tests of the stand-in for the CUDA driver (build.ts), each reported as a test of its own.
import { execFile } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { beforeAll, describe, expect, it } from "vitest";
import { cudasimFolder, cudasimTitle, hasCudasim } from "./build.js";

const program = join(cudasimFolder, "cudasim_tests");

function run(
  command: string,
  commandArguments: string[],
  environment = {},
): Promise<{ stdout: string; stderr: string; status: number }> {
  const options = { maxBuffer: 2 ** 26, env: { ...process.env, ...environment } };
  return new Promise((resolve) => {
    execFile(command, commandArguments, options, (error, stdout, stderr) =>
      resolve({ stdout, stderr, status: typeof error?.code === "number" ? error.code : error ? -1 : 0 }),
    );
  });
}

const listing = hasCudasim ? await run(program, [cudasimFolder, "--list"]) : undefined;
const names = listing?.stdout.split("\n").filter((name) => name !== "") ?? [];

describe.skipIf(!hasCudasim)(cudasimTitle("cudasim"), () => {
  const outcomes = new Map<string, string>();
  let leaked: boolean;

  beforeAll(async () => {
    if (names.length === 0) return;
    const { stdout, stderr, status } = await run(program, [cudasimFolder], { CUDASIM_LEAK_STATUS: "86" });
    leaked = status === 86;
    for (const line of stdout.split("\n")) {
      const name = names.find((candidate) => line === `ok ${candidate}` || line.startsWith(`FAILED ${candidate}: `));
      if (name !== undefined) outcomes.set(name, line);
    }
    for (const name of names) {
      if (!outcomes.has(name)) outcomes.set(name, `did not run: ${stderr.slice(-2000)}`);
    }
  });

  it("has tests", () => {
    expect(names).not.toHaveLength(0);
    expect(new Set(names).size).toBe(names.length);
  });

  it("leaves nothing on the device", () => {
    expect(leaked).toBe(false);
  });

  it("ends with the status of a process that leaves memory, a module and the context behind", async () => {
    const leaving = [cudasimFolder, "--leak"];
    const found = await run(program, leaving, { CUDASIM_LEAK_STATUS: "86" });
    expect(found.status).toBe(86);
    expect(found.stderr).toBe("cudasim: never given back: 1 device allocation, 1 module, 1 reference to the context\n");
    expect((await run(program, leaving, { CUDASIM_LEAK_STATUS: "0" })).status).toBe(0);
  });

  it.each([
    ["CUDASIM_ARCH", "eighty", "a whole number from 10 to 999"],
    ["CUDASIM_ARCH", "-80", "a whole number from 10 to 999"],
    ["CUDASIM_VERSION", "13.0", "a whole number from 1000 to 1000000"],
    ["CUDASIM_MULTIPROCESSORS", "0", "a whole number from 1 to 1000"],
    ["CUDASIM_MEMORY", "16 GiB", "a whole number from 0 to 1048576"],
    ["CUDASIM_MEMORY", "99999999999999999999", "a whole number from 0 to 1048576"],
    ["CUDASIM_THREADS", "0x2", "a whole number from 1 to 1024"],
    ["CUDASIM_ORDER", "random", "a whole number from 0 to 18446744073709551615"],
    ["CUDASIM_ROUNDING", "nearest", "a whole number from 0 to 1"],
    ["CUDASIM_FOLLOW", "2", "a whole number from 0 to 1"],
    ["CUDASIM_SAMPLE", "1e3", "a whole number from 0 to 4294967295"],
    ["CUDASIM_LEAK_STATUS", "256", "a whole number from 0 to 255"],
    ["CUDASIM_FAIL_AT", "first", "a whole number from 0 to 18446744073709551615"],
    ["CUDASIM_LIMIT", "0", "a whole number from 1 to 18446744073709551615"],
    ["CUDASIM_REFUSE", "cuFree", "one of cuDevicePrimaryCtxRetain, .*, or :N after it for the Nth call"],
    ["CUDASIM_REFUSE", "cuMemAllocHost:0", "one of .*cuMemAllocHost, .*"],
  ])("does not start with %s=%s", async (name, value, expected) => {
    const { status, stdout, stderr } = await run(program, [cudasimFolder], { [name]: value });
    expect(stderr.split("\n")[0]).toMatch(new RegExp(`^cudasim: ${name}: expected ${expected}, found "${value}"$`));
    expect(stdout).toBe("");
    expect(status).not.toBe(0);
  });

  it.each([
    ["is not there", undefined, "cannot be read"],
    ["is empty", "", "is empty"],
    ["has no kernel", ".version 8.0\n.target sm_80\n.address_size 64\n", "has no kernel"],
    ["is no PTX", "hello", "PTX line 1: expected a directive"],
  ])("refuses modules where the file of CUDASIM_PTX %s", async (_, content, message) => {
    const file = join(await mkdtemp(join(tmpdir(), "cudasim-ptx-")), "planted.ptx");
    if (content !== undefined) await writeFile(file, content);
    const { status, stderr } = await run(program, [cudasimFolder, "--leak"], { CUDASIM_PTX: file });
    await rm(dirname(file), { recursive: true });
    const said = stderr.split("\n")[0];
    expect(said).toMatch(/^cudasim: CUDASIM_PTX: /);
    expect(said).toContain(message);
    expect(status).toBe(1);
  });

  it.each([
    ["80", 163],
    ["86", 99],
    ["89", 99],
    ["90", 227],
    ["100", 227],
    ["120", 99],
  ])("sm_%s has %i KiB of shared memory a block", async (arch, kibibytes) => {
    const { stdout } = await run(program, [cudasimFolder, "--shared"], { CUDASIM_ARCH: arch });
    expect(Number(stdout)).toBe(kibibytes * 1024);
  });

  it.each(names)("%s", (name) => {
    expect(outcomes.get(name)).toBe(`ok ${name}`);
  });
});
