// A device that fails at one of the steps by which an engine opens it, as a program sees it that uses the library: one
// sentence, the process goes on, on the CPU and on the device, and nothing is left there.
import { execFile } from "node:child_process";
import { join } from "node:path";
import { promisify } from "node:util";
import { describe, expect, it } from "vitest";
import { cudasimTitle, hasCudasim } from "../cudasim/build.js";

const PROGRAM = `
import { Engine } from "./dist/lib/index.js";
const sizes = { dtype: "fp32", maxSequences: 2, cacheTokens: 256 };
const sample = async (device) => {
  const engine = await Engine.load("models/embedded", { ...sizes, device });
  try {
    return (await engine.generate("1 + 1 = ", { maxCompletionLength: 4, temperature: 0 }))[0].text;
  } finally {
    engine.dispose();
  }
};
const { code, message } = await sample("cudasim").catch((error) => error);
console.log(JSON.stringify({ code, message, texts: [await sample("cpu"), await sample("cudasim")] }));
`;

const OPENING = /^cuda: (\w+): no memory is left to open the device with: end what else uses it; or use device cpu$/;
const LESS = /lower token_budget, cache_tokens or max_sequences, .* or a smaller model$/;

const steps = [
  ["context", "cuDevicePrimaryCtxRetain", "ERR_DEVICE"],
  ["context made current", "cuCtxSetCurrent", "ERR_DEVICE"],
  ["stream", "cuStreamCreate", "ERR_DEVICE"],
  ["second stream", "cuStreamCreate:2", "ERR_DEVICE"],
  ["event between them", "cuEventCreate", "ERR_DEVICE"],
  ["pool", "cuDeviceGetDefaultMemPool", "ERR_DEVICE"],
  ["pool's threshold", "cuMemPoolSetAttribute", "ERR_DEVICE"],
  ["pinned memory", "cuMemAllocHost", "ERR_DEVICE"],
  ["pinned memory's event", "cuEventCreate:2", "ERR_DEVICE"],
  ["second pinned memory", "cuMemAllocHost:2", "ERR_DEVICE"],
  ["second one's event", "cuEventCreate:3", "ERR_DEVICE"],
  ["first memory", "cuMemAllocAsync", "ERR_MEMORY"],
  ["memory of the weights", "cuMemAllocAsync:9", "ERR_MEMORY"],
  ["first module", "cuModuleLoadData", "ERR_MEMORY"],
  ["second kernel", "cuModuleGetFunction:2", "ERR_MEMORY"],
] as const;

const title = cudasimTitle("a device that fails as it is opened");
describe.skipIf(!hasCudasim)(title, () => {
  it.each(steps)("at its %s is one error (%s), and nothing is left of it", async (_, call, expected) => {
    const { stdout, stderr } = await promisify(execFile)(process.execPath, ["--input-type=module", "--eval", PROGRAM], {
      cwd: join(import.meta.dirname, "../.."),
      env: { ...process.env, CUDASIM_REFUSE: call, CUDASIM_LEAK_STATUS: "86" },
    });
    expect(stderr).toBe("");
    const { code, message, texts } = JSON.parse(stdout) as { code: string; message: string; texts: string[] };
    expect(code).toBe(expected);
    expect(message).toMatch(expected === "ERR_DEVICE" ? OPENING : LESS);
    if (expected === "ERR_DEVICE") expect(call).toContain(OPENING.exec(message)![1]);
    expect(texts[0]).not.toBe("");
    expect(texts[1]).toBe(texts[0]);
  });
});
