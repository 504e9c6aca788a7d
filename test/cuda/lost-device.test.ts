// A fault on the device as a program sees it that uses the library: an error, and everything else goes on.
import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { cudasimLibrary, cudasimTitle, hasCudasim } from "../cudasim/build.js";

const PROGRAM = `
import { Engine } from "./dist/lib/index.js";
const sample = async (engine) => await engine.generate("1 + 1 = ", { maxCompletionLength: 12, temperature: 0 });
const lost = await Engine.load("models/embedded", { device: "cudasim", maxSequences: 2, cacheTokens: 256 });
const codes = [];
for (let i = 0; i < 2; i++) await sample(lost).catch(({ code }) => codes.push(code));
await lost.logprobs(["1 + 1"]).catch(({ code }) => codes.push(code));
lost.dispose();
await sample(lost).catch(({ code }) => codes.push(code));
const texts = [];
for (const device of ["cpu", "cudasim"]) {
  const engine = await Engine.load("models/embedded", { device, dtype: "fp32", maxSequences: 2, cacheTokens: 256 });
  texts.push((await sample(engine))[0].text);
  engine.dispose();
}
console.log(JSON.stringify({ codes, texts }));
`;

const TIMING = `
import { benchProduct } from "./dist/lib/index.js";
const shape = { out: 64, in: 64, rows: 1, dtype: "bf16", rank: 2, direction: "forward", seconds: 0, footprint: 0 };
await benchProduct({ device: "cuda", ...shape }).catch(({ code, message }) => {
  console.log(JSON.stringify({ code, message }));
});
`;

/** What a program prints where the kernel of this number fails. Nothing is left on the device. */
function run(program: string, at: string): unknown {
  const { status, stdout, stderr } = spawnSync(process.execPath, ["--input-type=module", "--eval", program], {
    cwd: join(import.meta.dirname, "../.."),
    encoding: "utf8",
    env: {
      ...process.env,
      TINYLORA_CUDA_DRIVER: cudasimLibrary,
      CUDASIM_FAIL_AT: at,
      CUDASIM_LEAK_STATUS: "86",
    },
  });
  expect(stderr).toBe("");
  expect(status).toBe(0);
  return JSON.parse(stdout);
}

const title = cudasimTitle("a fault on the device");
describe.skipIf(!hasCudasim)(title, () => {
  // The first kernel, one of the prompt's and one of a graph's.
  it.each(["1", "20", "90"])("is an error of the engine, and nothing else's (kernel %s)", (at) => {
    const { codes, texts } = run(PROGRAM, at) as { codes: string[]; texts: string[] };
    expect(codes).toEqual(["ERR_DEVICE", "ERR_DEVICE", "ERR_DEVICE", "ERR_DISPOSED"]);
    expect(texts[0]).not.toBe("");
    expect(texts[1]).toBe(texts[0]);
  });

  it("names the last kernels: those of the product that is timed", () => {
    const { code, message } = run(TIMING, "10") as { code: string; message: string };
    expect(code).toBe("ERR_DEVICE");
    expect(message).toMatch(/ after the kernels product_small_bf16(?:, product_small_bf16)+: CUDA_ERROR_/);
  });
});
