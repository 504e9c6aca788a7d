import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { EngineSpec } from "../../lib/native/addon.js";
import type { ModelConfig, TensorSource } from "../../lib/native/model-source.js";
import { generator } from "../generator.js";

/** A random model of a few thousand weights: grouped heads, widths that fill no vector register evenly. */
const tinyConfig: ModelConfig = {
  family: "llama",
  vocab: 259,
  hidden: 40,
  intermediate: 56,
  layers: 2,
  heads: 4,
  kvHeads: 2,
  headDim: 10,
  context: 320,
  rmsNormEpsilon: 1e-5,
  tiedEmbeddings: true,
  ropeTheta: 10_000,
};

export interface TinyModel {
  readonly file: string;
  readonly tensors: TensorSource[];
  readonly config: ModelConfig;
  /** A spec for `loadEngine`; token i stands for byte i. */
  spec(changes?: Partial<EngineSpec>): EngineSpec;
  remove(): void;
}

export function writeTinyModel(changes: Partial<ModelConfig> = {}): TinyModel {
  const config = { ...tinyConfig, ...changes };
  const folder = mkdtempSync(join(tmpdir(), "tinylora-"));
  const file = join(folder, "weights.bin");
  const { tensors, data } = randomTensors(config, file);
  writeFileSync(file, data);
  return {
    file,
    tensors,
    config,
    spec: (specChanges = {}) => ({
      config,
      tensors,
      dtype: "fp32",
      device: "cpu",
      threads: 2,
      maxSequences: 8,
      cacheTokens: 4096,
      tokenBytes: bytesOfTokens(config.vocab),
      ...specChanges,
    }),
    remove: () => rmSync(folder, { recursive: true, force: true }),
  };
}

/** Name, shape and size of the numbers of every tensor of a Llama model. */
function shapes(config: ModelConfig): [name: string, shape: number[], scale: number][] {
  const { hidden, intermediate, vocab } = config;
  const query = config.heads * config.headDim;
  const key = config.kvHeads * config.headDim;
  const matrix = (name: string, out: number, inner: number): [string, number[], number] => [
    `${name}.weight`,
    [out, inner],
    2 / Math.sqrt(inner),
  ];
  const layers = Array.from({ length: config.layers }, (_, layer) => `model.layers.${layer}`).flatMap((layer) => [
    [`${layer}.input_layernorm.weight`, [hidden], 0] as [string, number[], number],
    [`${layer}.post_attention_layernorm.weight`, [hidden], 0] as [string, number[], number],
    matrix(`${layer}.self_attn.q_proj`, query, hidden),
    matrix(`${layer}.self_attn.k_proj`, key, hidden),
    matrix(`${layer}.self_attn.v_proj`, key, hidden),
    matrix(`${layer}.self_attn.o_proj`, hidden, query),
    matrix(`${layer}.mlp.gate_proj`, intermediate, hidden),
    matrix(`${layer}.mlp.up_proj`, intermediate, hidden),
    matrix(`${layer}.mlp.down_proj`, hidden, intermediate),
  ]);
  return [matrix("model.embed_tokens", vocab, hidden), ["model.norm.weight", [hidden], 0], ...layers];
}

function randomTensors(config: ModelConfig, file: string): { tensors: TensorSource[]; data: Float32Array } {
  const random = generator(7);
  const tensors: TensorSource[] = [];
  const values: number[] = [];
  for (const [name, shape, scale] of shapes(config)) {
    const count = shape.reduce((product, size) => product * size, 1);
    tensors.push({ name, file, offset: values.length * 4, bytes: count * 4, type: "F32", shape });
    for (let i = 0; i < count; i++) values.push(scale === 0 ? 1 : scale * (random() * 2 - 1));
  }
  return { tensors, data: Float32Array.from(values) };
}

function bytesOfTokens(vocab: number): { bytes: Uint8Array; offsets: Uint32Array } {
  return {
    bytes: Uint8Array.from({ length: 256 }, (_, byte) => byte),
    offsets: Uint32Array.from({ length: vocab + 1 }, (_, token) => Math.min(token, 256)),
  };
}
