import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { loadAddon } from "../../lib/native/load.js";
import { packageRoot } from "../../lib/version.js";
import { prompt, quiet, randomBasis, request, sample, tokensOf, withEngine } from "./sampling.js";
import { writeTinyModel } from "./tiny-model.js";

const addon = loadAddon();
const model = writeTinyModel({ context: 8192 });
afterAll(() => model.remove());

const spec = () => model.spec({ cacheTokens: 16_384 });
const aborted = expect.objectContaining({ code: "ERR_ABORTED" });
const disposed = expect.objectContaining({ code: "ERR_DISPOSED" });

/** A batch that keeps the machine busy for a while, where it is of 8000 tokens. */
function longBatch(keep = false, length = 8000) {
  const tokens = prompt(length);
  return {
    tokens,
    starts: Int32Array.from([0, tokens.length]),
    parents: Int32Array.from([-1]),
    slots: Int32Array.from([-1]),
    scored: Uint8Array.from([1]),
    temperatures: Float32Array.from([1]),
    keep,
  };
}

describe("dispose", () => {
  it("ends what is unfinished and refuses calls after it", async () => {
    const engine = await addon.loadEngine(spec(), quiet);
    const sampling = sample(engine, request({ numGenerations: 3, maxCompletionLength: 8000 }));
    const running = expect(engine.forward(longBatch())).rejects.toEqual(aborted);
    const queued = expect(engine.computeSvd({ rank: 2, modules: [0] }, quiet)).rejects.toEqual(aborted);
    engine.dispose();
    engine.dispose();
    await Promise.all([running, queued]);
    expect((await sampling).map(({ reason }) => reason)).toEqual(["aborted", "aborted", "aborted"]);
    expect(() => engine.memory()).toThrow(disposed);
    expect(() => engine.submit(request(), quiet)).toThrow(disposed);
    expect(() => engine.setVector(0, new Float32Array(2))).toThrow(disposed);
    await expect(engine.forward(longBatch())).rejects.toEqual(disposed);
    expect(engine.modules).toHaveLength(14);
  });

  it("ends a pass that runs", async () => {
    const engine = await addon.loadEngine(spec(), quiet);
    const before = engine.forward(longBatch(false, 8));
    const running = expect(engine.forward(longBatch())).rejects.toEqual(aborted);
    await before;
    engine.dispose();
    await running;
  });

  it("can be called from an event", async () => {
    const engine = await addon.loadEngine(spec(), quiet);
    const finished = await sample(engine, request({ numGenerations: 2, maxCompletionLength: 5000, stream: true }), () =>
      engine.dispose(),
    );
    expect(finished.map(({ reason }) => reason)).toEqual(["aborted", "aborted"]);
  });
});

describe("memory", () => {
  it("is what is left after a pass that failed", async () => {
    await withEngine(addon, spec(), async (engine) => {
      engine.setBasis(randomBasis(engine, 1));
      const batch = { ...longBatch(), slots: Int32Array.from([0]) };
      await engine.forward(batch);
      expect(engine.memory().activations).toBeGreaterThan(0);
      engine.setVector(0, Float32Array.of(1e37, 1e37));
      await expect(engine.forward(batch)).rejects.toMatchObject({ code: "ERR_NUMERIC" });
      expect(engine.memory().activations).toBe(0);
    });
  });
});

describe("abort", () => {
  it("ends the running and the queued passes, and leaves the engine usable", async () => {
    await withEngine(addon, spec(), async (engine) => {
      engine.setBasis(randomBasis(engine, 1));
      const all = [
        engine.forward(longBatch()),
        engine.forward(longBatch(true)),
        engine.computeSvd({ rank: 2, modules: [1] }, quiet),
      ];
      const settled = Promise.allSettled(all);
      engine.abort();
      for (const result of await settled)
        expect(result).toMatchObject({ status: "rejected", reason: { code: "ERR_ABORTED" } });
      engine.abort();
      expect((await engine.forward({ ...longBatch(), scored: Uint8Array.from([0]) })).logprobs).toHaveLength(8000);
      expect([...engine.gradient(0)]).toEqual([0, 0]);
    });
  });

  it("comes of an SVD's listener that returns false", async () => {
    const larger = writeTinyModel({ hidden: 320, intermediate: 640, layers: 8 });
    try {
      await withEngine(addon, larger.spec(), async (engine) => {
        const modules = engine.modules.map(({ index }) => index);
        const svd = expect(engine.computeSvd({ rank: 16, modules }, () => false)).rejects.toEqual(aborted);
        const queued = engine.computeSvd({ rank: 2, modules: [1] }, quiet);
        await svd;
        expect(await queued).toHaveLength(1);
        expect(await engine.computeSvd({ rank: 2, modules: [0] }, () => undefined)).toHaveLength(1);
      });
    } finally {
      larger.remove();
    }
  });

  it("comes of a measurement's listener that returns false", async () => {
    const on = { device: "cpu", path: addon.machine().paths[0]!, threads: 2, seconds: 3600 } as const;
    const shape = { out: 64, in: 64, rows: 4, dtype: "fp32", direction: "forward", rank: 2, footprint: 0 } as const;
    let asked = 0;
    const goOn = () => ++asked < 3;
    await expect(addon.benchProduct({ ...shape, ...on }, goOn)).rejects.toEqual(aborted);
    await expect(addon.benchLimits(on, () => false)).rejects.toEqual(aborted);
    expect(asked).toBeLessThan(10);
  });

  it("does not touch sampling", async () => {
    await withEngine(addon, spec(), async (engine) => {
      const sampling = sample(engine, request({ maxCompletionLength: 200 }));
      const pass = expect(engine.forward(longBatch())).rejects.toEqual(aborted);
      engine.abort();
      await pass;
      expect((await sampling)[0]?.reason).toBe("length");
    });
  });
});

describe("a result that JavaScript refuses", () => {
  /** While an object of the addon cannot get this property. */
  async function without<T>(key: string, use: () => Promise<T>): Promise<T> {
    const set = () => {
      throw new Error("refused");
    };
    Object.defineProperty(Object.prototype, key, { set, configurable: true });
    try {
      return await use();
    } finally {
      Reflect.deleteProperty(Object.prototype, key);
    }
  }

  it("rejects its promise", async () => {
    await withEngine(addon, spec(), async (engine) => {
      const batch = { ...longBatch(), tokens: prompt(8), starts: Int32Array.from([0, 8]) };
      await without("entropies", () => expect(engine.forward(batch)).rejects.toThrow("refused"));
      expect((await engine.forward(batch)).entropies).toHaveLength(8);
    });
  });
});

describe("several engines", () => {
  it("work side by side with the same results", async () => {
    const what = request({ prompt: prompt(40), numGenerations: 4, maxCompletionLength: 60 });
    const engines = await Promise.all([1, 2, 3].map((threads) => addon.loadEngine(model.spec({ threads }), quiet)));
    const all = await Promise.all(engines.map((engine) => sample(engine, what)));
    for (const engine of engines) engine.dispose();
    expect(tokensOf(all[1]!)).toEqual(tokensOf(all[0]!));
    expect(tokensOf(all[2]!)).toEqual(tokensOf(all[0]!));
  });

  it("sample and score at once", async () => {
    await withEngine(addon, spec(), async (engine) => {
      const what = request({ prompt: prompt(40), numGenerations: 4, maxCompletionLength: 60 });
      const before = tokensOf(await sample(engine, what));
      const [during] = await Promise.all([
        sample(engine, what),
        engine.forward(longBatch()),
        engine.forward(longBatch()),
      ]);
      expect(tokensOf(during)).toEqual(before);
    });
  });
});

describe("a process", () => {
  /** Runs a script in a child process; its arguments are the addon's file and a spec. Returns exit code and output. */
  function run(script: string, flags: string[] = []): { status: number | null; signal: string | null; output: string } {
    const prelude = `
      const { createRequire } = await import("node:module");
      const require = createRequire(process.cwd() + "/");
      const addon = require(process.argv[1]);
      const spec = { ...JSON.parse(process.argv[2]), tokenBytes: undefined };
      const request = (changes) => ({ id: 1, prompt: Int32Array.from([1, 2, 3]), slot: -1, numGenerations: 4, maxCompletionLength: 8000,
        temperature: 1, topP: 1, topK: 0, minP: 0, seed: 1, firstSequence: 0, stopTokens: new Int32Array(0),
        stopStrings: [], stream: true, ...changes });
      const long = (length = 8000) => ({ tokens: new Int32Array(length), starts: Int32Array.from([0, length]),
        parents: Int32Array.from([-1]), slots: Int32Array.from([-1]), scored: Uint8Array.from([1]),
        temperatures: Float32Array.from([1]), keep: false });
      const quiet = () => {};`;
    const child = spawnSync(
      process.execPath,
      [...flags, "--input-type=module", "-e", prelude + script, addonFile(), JSON.stringify(spec())],
      { encoding: "utf8", timeout: 300_000, cwd: packageRoot() },
    );
    return { status: child.status, signal: child.signal, output: child.stdout + child.stderr };
  }

  function addonFile(): string {
    if (process.env.TINYLORA_ADDON !== undefined) return process.env.TINYLORA_ADDON;
    return join(packageRoot(), "build", "Release", "tinylora.node");
  }

  it("ends by itself beside an idle engine", () => {
    expect(run(`const engine = await addon.loadEngine(spec, quiet); console.log(engine.fingerprint.length);`)).toEqual({
      status: 0,
      signal: null,
      output: "16\n",
    });
  });

  it("ends by itself after a call that failed", () => {
    const script = `
      const engine = await addon.loadEngine(spec, quiet);
      await engine.backward(new Float32Array(1)).catch(({ code }) => console.log(code));`;
    expect(run(script)).toEqual({ status: 0, signal: null, output: "ERR_ARGUMENT\n" });
  });

  it("stays while work is unfinished, though nobody holds the engine", () => {
    const script = `
      let engine = await addon.loadEngine(spec, quiet);
      engine.submit(request({ numGenerations: 1, maxCompletionLength: 50, stream: false }), (event) => console.log(event.tokens.length));
      engine.forward(long()).then(({ logprobs }) => console.log(logprobs.length));
      engine = undefined;
      for (let i = 0; i < 5; i++) { globalThis.gc(); await new Promise(setImmediate); }`;
    const { status, output } = run(script, ["--expose-gc"]);
    expect({ status, lines: output.trim().split("\n").sort() }).toEqual({ status: 0, lines: ["50", "8000"] });
  });

  it("frees engines that are no longer held", () => {
    const script = `
      const { readdirSync } = await import("node:fs");
      const threads = () => process.platform === "linux" ? readdirSync("/proc/self/task").length : 0;
      const idle = threads();
      for (let i = 0; i < 20; i++) {
        await addon.loadEngine(spec, quiet);
        globalThis.gc();
        await new Promise(setImmediate);
      }
      const held = () => threads() - idle > 15; // Node has some more by now
      for (let i = 0; i < 1000 && held(); i++) { globalThis.gc(); await new Promise((done) => setTimeout(done, 20)); }
      console.log(held() ? threads() - idle + " threads" : "freed");`;
    expect(run(script, ["--expose-gc"])).toEqual({ status: 0, signal: null, output: "freed\n" });
  });

  it.each([
    ["in mid-step", `engine.submit(request(), (event) => { if (event.type === "tokens") process.exit(7); });`],
    ["in mid-pass", `engine.forward(long(8)).then(() => process.exit(7)); engine.forward(long());`],
    ["in mid-SVD", `engine.computeSvd({ rank: 2, modules: [0, 1, 2, 3, 4, 5, 6] }, () => process.exit(7));`],
    ["after dispose", `engine.forward(long()).catch(quiet); engine.dispose(); process.exit(7);`],
    ["while loading", `addon.loadEngine(spec, () => process.exit(7));`],
  ])("can exit %s", (_, work) => {
    expect(run(`const engine = await addon.loadEngine(spec, quiet); ${work}`)).toEqual({
      status: 7,
      signal: null,
      output: "",
    });
  });

  it("sees what a callback throws as an uncaught exception", () => {
    const script = `
      process.on("uncaughtException", (error) => { console.log(error.message); engine.dispose(); });
      const engine = await addon.loadEngine(spec, quiet);
      engine.submit(request({ numGenerations: 1 }), (event) => { if (event.type === "tokens") throw new Error("mine"); });`;
    const { status, output } = run(script);
    expect(status).toBe(0);
    expect(output.split("\n")[0]).toBe("mine");
  });

  it("runs engines in worker threads, ended while they load and free one after another", () => {
    const script = `
      const { Worker } = await import("node:worker_threads");
      const code = \`
        const { parentPort, workerData } = require("node:worker_threads");
        const addon = require(workerData.file);
        (async () => {
          for (let i = 0; ; i++) {
            (await addon.loadEngine(workerData.spec, () => {})).dispose();
            if (i === 0) parentPort.postMessage("on");
          }
        })();\`;
      for (let round = 0; round < 30; round++) {
        await new Promise((done) => {
          const worker = new Worker(code, { eval: true, execArgv: [], workerData: { file: process.argv[1], spec } });
          worker.on("error", (error) => { console.log(error); done(); });
          worker.once("message", () => setTimeout(() => worker.terminate(), 5 + round));
          worker.on("exit", done);
        });
      }
      console.log("done");`;
    expect(run(script)).toEqual({ status: 0, signal: null, output: "done\n" });
  });

  it("runs engines in worker threads, ended in mid-step", () => {
    const script = `
      const { Worker } = await import("node:worker_threads");
      const code = \`
        const { parentPort, workerData } = require("node:worker_threads");
        const addon = require(workerData.file);
        addon.loadEngine(workerData.spec, () => {}).then((engine) => {
          const request = \${JSON.stringify({ ...request({ id: 1 }), prompt: [], stopTokens: [] })};
          request.prompt = Int32Array.from([1, 2]);
          request.stopTokens = new Int32Array(0);
          engine.submit(request, (event) => { if (workerData.end === "event") parentPort.postMessage(event.type); });
          if (workerData.end === "pass") {
            const long = { tokens: new Int32Array(8000), starts: Int32Array.from([0, 8000]), parents: Int32Array.from([-1]),
              slots: Int32Array.from([-1]), scored: Uint8Array.from([1]), temperatures: Float32Array.from([1]), keep: false };
            engine.forward(long).catch(() => {});
            parentPort.postMessage("pass");
          }
          if (workerData.end === "exit") process.exit(0);
        });\`;
      for (let round = 0; round < 5; round++) {
        await Promise.all(["event", "pass", "exit"].map((end) => new Promise((done) => {
          const worker = new Worker(code, { eval: true, execArgv: [], workerData: { file: process.argv[1], spec, end } });
          worker.on("error", (error) => { console.log(error); done(); });
          worker.once("message", () => worker.terminate());
          worker.on("exit", done);
        })));
      }
      console.log("done");`;
    expect(run(script)).toEqual({ status: 0, signal: null, output: "done\n" });
  });
});
