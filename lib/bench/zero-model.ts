/** Models of given shape whose weights are zeros: what they take depends on shapes alone. */
import { closeSync, ftruncateSync, mkdtempSync, openSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { tensorShapes } from "../model/tensor-shapes.js";
import type { AdapterBasis, EngineSpec, ForwardBatch, LinearModule, NativeEngine } from "../native/addon.js";
import { loadAddon } from "../native/load.js";
import type { ModelConfig, TensorSource } from "../native/model-source.js";
import { onAbort } from "../native/on-abort.js";

export type ModelShape = Pick<
  ModelConfig,
  "family" | "vocab" | "hidden" | "intermediate" | "heads" | "kvHeads" | "headDim"
>;

export async function loadZeroModel(
  shape: ModelShape,
  layers: number,
  spec: Omit<EngineSpec, "config" | "tensors">,
  signal?: AbortSignal,
): Promise<NativeEngine> {
  const folder = mkdtempSync(join(tmpdir(), "tinylora-zeros-"));
  const config = zeroConfig(shape, layers);
  try {
    const tensors = zeroTensors(config, join(folder, "zeros.bin"));
    return await loadAddon().loadEngine({ ...spec, config, tensors }, () => !signal?.aborted);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** One number for these modules, of a basis of zeros. */
export function zeroBasis(modules: readonly LinearModule[], rank: number): AdapterBasis {
  return {
    ...{ rank, u: 1, groups: 1, slots: 1 },
    modules: modules.map(({ index, in: width, out }) => ({
      module: index,
      group: 0,
      a: new Float32Array(rank * width),
      b: new Float32Array(out * rank),
      p: new Float32Array(rank * rank).fill(1),
    })),
  };
}

/** Numbers that its weights have. */
export function countWeights(shape: ModelShape, layers: number): number {
  const sizes = tensorShapes(zeroConfig(shape, layers)).map((tensor) => tensor.shape);
  return sizes.reduce((sum, size) => sum + size.reduce((product, side) => product * side, 1), 0);
}

/** `rows` rows to train on, all scored, in sequences of at most `length`. */
export function batchOf(rows: number, length: number): ForwardBatch {
  const count = Math.ceil(rows / length);
  return {
    tokens: new Int32Array(rows),
    starts: Int32Array.from({ length: count + 1 }, (_, i) => Math.min(i * length, rows)),
    parents: new Int32Array(count).fill(-1),
    slots: new Int32Array(count),
    scored: new Uint8Array(count).fill(1),
    temperatures: new Float32Array(count).fill(1),
    keep: true,
  };
}

export interface Sampling {
  /** Completions in all. */
  readonly sequences: number;
  /** Completions of a prompt, at most; prompts differ from their first token on. */
  readonly numGenerations: number;
  /** Tokens of each prompt, and of each completion. */
  readonly promptLength: number;
  readonly completionLength: number;
}

/** Samples with the adapter of slot 0 until all completions are there, or as far as they have come when the signal comes. */
export async function sampleAll(
  engine: NativeEngine,
  { sequences, numGenerations, promptLength, completionLength }: Sampling,
  signal?: AbortSignal,
): Promise<void> {
  const sample = (id: number) =>
    new Promise<void>((resolve, reject) => {
      const own = Math.min(numGenerations, sequences - id * numGenerations);
      let left = own;
      const request = {
        ...{ id, slot: 0, numGenerations: own, maxCompletionLength: completionLength },
        prompt: new Int32Array(promptLength).fill(id),
        ...{ temperature: 1, topP: 1, topK: 0, minP: 0, seed: 1, firstSequence: id * numGenerations },
        ...{ stopTokens: new Int32Array(0), stopStrings: [], stream: false },
      };
      engine.submit(request, (event) => {
        if (event.type === "failed") reject(event.error);
        if (event.type === "finished" && --left === 0) resolve();
      });
    });
  const ids = Array.from({ length: Math.ceil(sequences / numGenerations) }, (_, id) => id);
  const ended = onAbort(signal, () => {
    for (const id of ids) engine.cancel(id);
  });
  await Promise.all(ids.map(sample)).finally(ended);
}

function zeroConfig(shape: ModelShape, layers: number): ModelConfig {
  return {
    ...shape,
    layers,
    context: 4096,
    rmsNormEpsilon: 1e-6,
    tiedEmbeddings: true,
    ropeTheta: 10000,
  };
}

/** All tensors are the same zeros, which it writes to `file`. */
function zeroTensors(config: ModelConfig, file: string): TensorSource[] {
  const tensors = tensorShapes(config);
  const bytesOf = (size: number[]) => 2 * size.reduce((product, side) => product * side, 1);
  const descriptor = openSync(file, "w");
  ftruncateSync(descriptor, Math.max(...tensors.map((tensor) => bytesOf(tensor.shape))));
  closeSync(descriptor);
  return tensors.map((tensor) => ({ ...tensor, file, offset: 0, bytes: bytesOf(tensor.shape), type: "BF16" }));
}
