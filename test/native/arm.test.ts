// The NEON kernels on any machine: the native tests compiled for 64-bit Arm and run on an emulator. All of them pass there,
// in a quarter of an hour; these are the quick ones that only Arm's kernels can fail. On Arm itself they are native tests
// like all others.
import { execFile, spawnSync } from "node:child_process";
import { join } from "node:path";
import { promisify } from "node:util";
import { beforeAll, describe, expect, it } from "vitest";
import { linesOf } from "./native-tests.js";

const root = join(import.meta.dirname, "../..");
const tree = join(root, ".cache", "arm");

const compiler = "aarch64-linux-gnu-g++";
const runs = (command: string): boolean => spawnSync(command, ["--version"]).status === 0;
const emulator = ["qemu-aarch64-static", "qemu-aarch64"].find(runs);
const missing = !runs(compiler) ? compiler : emulator === undefined ? "qemu-aarch64" : undefined;

describe.skipIf(missing)(missing ? `native, on Arm (left out: there is no ${missing})` : "native, on Arm", () => {
  beforeAll(async () => {
    const system = [
      "-DCMAKE_SYSTEM_NAME=Linux",
      "-DCMAKE_SYSTEM_PROCESSOR=aarch64",
      `-DCMAKE_CXX_COMPILER=${compiler}`,
    ];
    const parts = ["-DTINYLORA_ADDON=OFF", "-DTINYLORA_CUDA=OFF", "-DCMAKE_EXE_LINKER_FLAGS=-static"];
    await output("cmake", ["-S", root, "-B", tree, ...system, ...parts]);
    await output("cmake", ["--build", tree, "--target", "native_tests"]);
  }, 1_200_000);

  it.each([
    ["AVX2's bits", ["eight lanes"]],
    ["numerics of BF16's dot products", ["neon-bf16", "numerics"]],
    ["packed equals alone with BF16's dot products", ["neon-bf16", "bit for bit"]],
  ])("%s", async (_, filter) => {
    const text = await output(emulator!, ["-cpu", "max,sve=off", join(tree, "native_tests"), ...filter]);
    expect(linesOf(text).filter((line) => !line.startsWith("ok "))).toEqual([
      expect.stringMatching(/^[1-9]\d* passed, 0 failed$/),
    ]);
  });
});

/** What a command prints; rejects with it where the command fails. */
async function output(command: string, commandArguments: readonly string[]): Promise<string> {
  const run = promisify(execFile)(command, commandArguments, { maxBuffer: 1 << 28 });
  return (await run.catch(({ message, stdout }) => Promise.reject(new Error(`${message}\n${stdout}`)))).stdout;
}
