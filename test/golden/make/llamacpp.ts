/**
 * llamacpp.json: log-probabilities that llama.cpp gives for the small GGUF models under LoRA files that we export.
 *
 *   npm install --prefix DIR --omit=optional node-llama-cpp @node-llama-cpp/linux-x64
 *   npx tsx test/golden/make/llamacpp.ts DIR
 */
import { createHash } from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { LlamaCpp } from "../../../benchmarks/llamacpp.js";
import { randomUniform } from "../../../lib/philox.js";
import { Engine } from "../../../lib/engine.js";
import { ggufLora } from "../../../lib/export/gguf-lora.js";
import { plainLora } from "../../../lib/export/lora.js";
import { golden, type LlamaCppFixture } from "../fixtures.js";
import { KIND_NAMES, randomAdapter } from "../random-adapter.js";

const ids = Array.from({ length: 24 }, (_, i) => 2 + Math.floor(288 * randomUniform(3, "init", 0, i)));
const rounded = (values: number[]) => values.map((value) => Number(value.toPrecision(8)));

const folder = process.argv[2];
if (folder === undefined) throw new Error("expected the folder that holds node-llama-cpp");
const llama = await LlamaCpp.open(folder);
const work = mkdtempSync(join(tmpdir(), "tinylora-llamacpp-"));
const cases: LlamaCppFixture["cases"][number][] = [];
try {
  for (const model of ["llama3-8k.gguf", "qwen2.gguf", "qwen3.gguf", "qwen3-yarn.gguf"]) {
    const path = golden(`models/${model}`);
    const score = async (lora?: string) => rounded((await llama.logprobs(path, lora, [Int32Array.from(ids)]))[0]!.slice(1));
    const base = await score();
    await using engine = await Engine.load(path, { dtype: "fp32", threads: 1 });
    for (const kind of KIND_NAMES) {
      const adapter = randomAdapter(engine, kind);
      await engine.attach(adapter);
      const bytes = ggufLora(plainLora(engine.basis(), adapter.v), engine.model.config);
      const file = join(work, `${kind}-${model}`);
      writeFileSync(file, bytes);
      const sha256 = createHash("sha256").update(bytes).digest("hex");
      cases.push({ model, kind, ids, sha256, logprobs: await score(file), base });
    }
  }
  const lines = cases.map((one) => JSON.stringify(one)).join(",\n");
  writeFileSync(golden("llamacpp.json"), `{"version": ${JSON.stringify(llama.version)}, "cases": [\n${lines}\n]}\n`);
} finally {
  await llama.dispose();
  rmSync(work, { recursive: true });
}
