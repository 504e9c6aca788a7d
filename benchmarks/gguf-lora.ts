/**
 * Do our exports mean the same to llama.cpp? Adapters of a GGUF model, written by `tinylora-native export --format gguf` and
 * run by llama.cpp over that model: log-probabilities and greedy continuations of GSM8K problems, against ours in fp32. The
 * model is taken with its weights widened to fp32, and as the file is; there llama.cpp also rounds what goes into each
 * product. Prints measurements. Needs `npm run build`.
 *
 *   npm install --prefix DIR --omit=optional node-llama-cpp @node-llama-cpp/linux-x64
 *   npx tsx benchmarks/gguf-lora.ts --llamacpp DIR
 *
 *   --llamacpp DIR     folder that holds node-llama-cpp
 *   --model FILE       .gguf file of Q4_1, Q8_0 and F32 tensors (SmolLM2-135M-Instruct in ../shared/models)
 *   --data FILE        JSONL with a "question" a line (../shared/data/gsm8k/train.jsonl)
 *   --problems N       how many (8)
 *   --new-tokens N     tokens of a continuation (48)
 */
import { execFileSync } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Adapter, Engine, randomUniform } from "../lib/index.js";
import { readFlags, refuse } from "./flags.js";
import { writeGgufF32 } from "./gguf-f32.js";
import { LlamaCpp } from "./llamacpp.js";
import { emit } from "./measurement.js";

const { values: options } = readFlags({
  options: {
    llamacpp: { type: "string" },
    model: { type: "string", default: "../shared/models/SmolLM2-135M-Instruct/SmolLM2-135M-Instruct.Q4_1.gguf" },
    data: { type: "string", default: "../shared/data/gsm8k/train.jsonl" },
    problems: { type: "string", default: "8" },
    "new-tokens": { type: "string", default: "48" },
  },
});
const llamacpp = options.llamacpp ?? refuse("--llamacpp: expected the folder that holds node-llama-cpp, found nothing");
if (!existsSync(join(llamacpp, "node_modules", "node-llama-cpp"))) {
  refuse(`--llamacpp: expected the folder that holds node-llama-cpp, found ${llamacpp}`);
}
const newTokens = Number(options["new-tokens"]);

/** Numbers of a standard normal distribution's size, each a function of its place. */
const noise = (stream: number, at: number) => Math.sqrt(12) * (randomUniform(5, "init", stream, at) - 0.5);

/** Far enough from zero that every continuation changes. */
const adapters: Readonly<Record<string, (engine: Engine) => Adapter>> = {
  tinylora: (engine) => {
    const zero = Adapter.create(engine, { r: 2, u: 13, tying: { kind: "all" } });
    return zero.withVector(zero.v.map((_, i) => 0.02 * noise(0, i)));
  },
  lora_xs: (engine) => {
    const zero = Adapter.create(engine, { kind: "lora_xs", r: 4 });
    return zero.withVector(zero.v.map((_, i) => 0.02 * noise(1, i)));
  },
  lora: (engine) => {
    const zero = Adapter.create(engine, { kind: "lora", r: 8, loraAlpha: 16 });
    return zero.withMatrices(
      new Map(
        [...zero.matrices!].map(([name, { a, b, p }], stream) => [
          name,
          { a, b: b.map((_, i) => 0.02 * noise(2 + stream, i)), p },
        ]),
      ),
    );
  },
};

const work = mkdtempSync(join(tmpdir(), "tinylora-gguf-"));
const llama = await LlamaCpp.open(llamacpp);
try {
  const widened = join(work, "f32.gguf");
  await writeGgufF32(options.model, widened);
  await using engine = await Engine.load(widened, { dtype: "fp32" });
  const prompts = readFileSync(options.data, "utf8")
    .split("\n", Number(options.problems))
    .map((line) => (JSON.parse(line) as { question: string }).question)
    .map((content) => engine.tokenizer.encodeChat([{ role: "user", content }]));
  const base = await continuations(engine, prompts, "base");
  for (const name of ["base", ...Object.keys(adapters)]) {
    const make = adapters[name];
    const lora = make && (await exported(name, make(engine), engine));
    const ours = make ? await continuations(engine, prompts, 0) : base;
    const changed = ours.filter(({ text }, i) => text.join() !== base[i]!.text.join()).length;
    const settings = { adapter: name, changed, of: prompts.length, tokens: newTokens, peer: llama.version };
    for (const [weights, path] of Object.entries({ fp32: widened, "as the file is": options.model })) {
      const logprobs = await llama.logprobs(
        path,
        lora,
        ours.map(({ whole }) => whole),
      );
      const apart = ours.map(({ logprobs: own, whole, text }, i) =>
        [...own.keys()].slice(whole.length - text.length).map((at) => Math.abs(own[at]! - logprobs[i]![at]!)),
      );
      const all = apart.flat();
      emit("gguf_lora/logprob_difference_max", "nats", Math.max(...all), { ...settings, weights });
      emit("gguf_lora/logprob_difference_mean", "nats", all.reduce((x, y) => x + y, 0) / all.length, {
        ...settings,
        weights,
      });
      const theirs = await llama.greedy(path, lora, prompts, newTokens, [...engine.tokenizer.stopTokens]);
      const same = theirs.filter((tokens, i) => tokens.join() === ours[i]!.text.join()).length;
      emit("gguf_lora/same_continuations", "of all", same, { ...settings, weights });
    }
  }
} finally {
  await llama.dispose();
  rmSync(work, { recursive: true });
}

/** Attaches the adapter and has the command write it for llama.cpp. */
async function exported(name: string, adapter: Adapter, engine: Engine): Promise<string> {
  const [folder, file] = [join(work, name), join(work, `${name}.gguf`)];
  await engine.attach(adapter);
  await adapter.save(folder);
  const command = ["export", "--adapter", folder, "--format", "gguf", "--dtype", "fp32", "--output", file];
  execFileSync(process.execPath, ["dist/bin/tinylora-native.js", ...command, "--model", options.model!], {
    stdio: ["ignore", "ignore", "inherit"],
  });
  return file;
}

/** What the engine makes of each prompt, the likeliest token each time, and the log-probabilities of prompt and text. */
async function continuations(engine: Engine, prompts: readonly Int32Array[], adapter: number | "base") {
  const made = await engine.generate(prompts, { temperature: 0, maxCompletionLength: newTokens, adapter });
  const wholes = made.map(({ tokens }, i) => Int32Array.of(...prompts[i]!, ...tokens));
  const scored = await engine.logprobs(wholes, { adapter });
  return made.map(({ tokens }, i) => ({ text: tokens, whole: wholes[i]!, logprobs: scored[i]!.logprobs }));
}
