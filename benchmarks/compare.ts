/**
 * Ours beside the peers: runs our script and theirs in turns on this machine, and prints a table with a line for each figure
 * and contestant, with the median of the rounds and how many times better ours is.
 *
 *   npx tsx benchmarks/compare.ts grpo --peers DIR            a GRPO step, beside TRL + PEFT
 *   npx tsx benchmarks/compare.ts sampling --peers DIR        sampling, beside transformers and llama.cpp
 *   npx tsx benchmarks/compare.ts products --peers DIR        one linear layer, beside PEFT's
 *
 *   --peers DIR      folder of the peers' scripts, which print measurements as measurement.ts does (../shared/peers)
 *   --python FILE    the peers' interpreter (DIR/.cache/venv/bin/python)
 *   --batch N        sampling: how many prompts at a time (64)
 *   --new-tokens N   sampling, grpo: tokens of each completion (128)
 *   --gradient-checkpointing  grpo: ours and theirs with it
 *   --keep-activations        grpo: ours with it
 *   --rounds N       how often each is run (3)
 *   --json           print every measurement, too
 */
import { spawn, spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { readFlags, refuse } from "./flags.js";
import { type Measurement, median } from "./measurement.js";

const { values: options, positionals } = readFlags({
  allowPositionals: true,
  options: {
    peers: { type: "string", default: "../shared/peers" },
    python: { type: "string" },
    batch: { type: "string", default: "64" },
    "new-tokens": { type: "string", default: "128" },
    "gradient-checkpointing": { type: "boolean", default: false },
    "keep-activations": { type: "boolean", default: false },
    rounds: { type: "string", default: "3" },
    json: { type: "boolean", default: false },
  },
});
const python = options.python ?? join(options.peers, ".cache/venv/bin/python");
const peer = (script: string) => join(options.peers, script);
const length = ["--new-tokens", options["new-tokens"]];
const work = [...length, ...(options["gradient-checkpointing"] ? ["--gradient-checkpointing"] : [])];
const kept = options["keep-activations"] ? ["--keep-activations"] : [];
const batches = ["--batches", options.batch, ...length];
const llamaCpp = ["node", peer("generate_llamacpp.mjs"), ...batches];
const transformers = [python, peer("generate_hf.py"), "--dtypes", "bfloat16", ...batches, "--adapters"];
const bf16Gguf = peer(".cache/SmolLM2-135M-Instruct.BF16.gguf");

interface Contestant {
  readonly name: string;
  readonly command: readonly string[];
}
interface Comparison {
  readonly contestants: readonly Contestant[]; // ours first
  /** Measurements compared, and whether more is better. */
  readonly figures: Readonly<Record<string, "more" | "less">>;
}

const ours = (script: string, ...flags: string[]) => ["npx", "tsx", `benchmarks/${script}`, ...flags];
const comparisons: Record<string, Comparison> = {
  sampling: {
    contestants: [
      { name: "ours", command: ours("sampling.ts", ...batches) },
      {
        name: "transformers",
        command: [...transformers, "none"],
      },
      {
        name: "transformers + PEFT",
        command: [...transformers, "tinylora"],
      },
      { name: "llama.cpp (Q4_1)", command: llamaCpp },
      { name: "llama.cpp (BF16)", command: [...llamaCpp, "--gguf", bf16Gguf] },
    ],
    figures: { prefill: "less", whole: "more", decode: "more" },
  },
  grpo: {
    contestants: [
      { name: "ours", command: ours("grpo-step.ts", ...work, ...kept) },
      { name: "TRL + PEFT", command: [python, peer("grpo_trl.py"), "--dtypes", "bfloat16", ...work] },
    ],
    figures: {
      step: "less",
      sampling: "less",
      training: "less",
      peak_rss: "less",
      logprob_mismatch_max: "less",
    },
  },
  products: {
    contestants: [
      { name: "ours", command: ours("products.ts") },
      {
        name: "PEFT",
        command: [
          python,
          peer("linear_peft.py"),
          "--models",
          "smollm2-135m",
          "--rows",
          "1",
          "64",
          "512",
          "2048",
          "--dtypes",
          "bfloat16",
        ],
      },
    ],
    figures: { forward: "less", forward_backward: "less" },
  },
};

const wanted = positionals.join(" ") || "nothing";
const comparison =
  comparisons[wanted] ?? refuse(`expected one of ${Object.keys(comparisons).join(", ")}, found ${wanted}`);
if (!existsSync(python)) {
  refuse(`${python}: no such interpreter; make it with setup.sh in ${options.peers}, or name one with --python`);
}

if (wanted === "sampling" && !existsSync(bf16Gguf)) {
  spawnSync(python, [peer("dequantize_gguf.py"), "--format", "BF16"], { stdio: "inherit" });
}

// figure and settings that tell it apart -> contestant -> one value a round
const values = new Map<string, { unit: string; better: "more" | "less"; samples: Map<string, number[]> }>();
for (let round = 0; round < Number(options.rounds); round++) {
  for (const { name, command } of comparison.contestants) {
    for await (const { name: figure, unit, value, settings } of measurements(command)) {
      const better = comparison.figures[figure.split("/").at(-1) ?? ""];
      if (!better) continue;
      const label = settings.layer ? `${name}: ${settings.layer}` : name;
      const key = [figure.split("/").at(-1), settings.shape, settings.rows]
        .filter((part) => part !== undefined)
        .join(" ");
      const row = values.get(key) ?? { unit, better, samples: new Map<string, number[]>() };
      row.samples.set(label, [...(row.samples.get(label) ?? []), value]);
      values.set(key, row);
    }
  }
}
report();

async function* measurements(command: readonly string[]): AsyncGenerator<Measurement> {
  const [program, ...flags] = command as [string, ...string[]];
  const child = spawn(program, flags, { stdio: ["ignore", "pipe", "inherit"] });
  const exit = new Promise<number | null>((resolve, reject) => child.on("close", resolve).on("error", reject));
  for await (const line of createInterface(child.stdout)) {
    const measurement = JSON.parse(line) as Measurement;
    if (options.json) console.log(line);
    yield measurement;
  }
  const code = await exit;
  if (code !== 0) throw new Error(`${command.join(" ")}: expected exit code 0, found ${code}`);
}

/** Medians over the rounds; the ratio is how many times better ours is. */
function report(): void {
  console.log(`| figure | contestant | median (least to most) | ours is better by |\n|---|---|---|---|`);
  for (const [figure, { unit, better, samples }] of values) {
    const reference = [...samples].find(([name]) => name === "ours" || name === "ours: fused")?.[1];
    for (const [name, all] of samples) {
      const value = median(all);
      const ratio = better === "more" ? median(reference ?? []) / value : value / median(reference ?? []);
      const spread = `${Math.min(...all).toPrecision(4)} to ${Math.max(...all).toPrecision(4)}`;
      const gain = all === reference || !Number.isFinite(ratio) ? "" : `${ratio.toFixed(2)} x`;
      console.log(`| ${figure} | ${name} | ${value.toPrecision(4)} ${unit} (${spread}) | ${gain} |`);
    }
  }
}
