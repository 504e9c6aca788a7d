/** A trained model as a Hugging Face folder: the base model's files, with other numbers in the weights that were trained. */
import { open } from "node:fs/promises";
import { join } from "node:path";
import { makeFolder, readBytesAt, reading, writeFileAtomic, writing } from "../files.js";
import type { Model } from "../model/open.js";
import type { Dtype } from "../native/addon.js";
import type { TensorSource } from "../native/model-source.js";
import { readTensor } from "../native/session.js";
import { isExtraTensor } from "./extra-tensors.js";
import { type LargeTensor, writeSafetensors } from "./large-safetensors.js";
import { encodeVector, roundVector } from "./vector-dtype.js";

/** Numbers of the weights that were trained, by name, [shape]; made when their turn comes. */
export type TrainedNumbers = ReadonlyMap<string, () => Float32Array | Promise<Float32Array>>;

export interface SaveOptions {
  /** Tensors written, of all of them. What it throws ends the work and is what the call rejects with. */
  readonly onProgress?: ((done: number, total: number) => void) | undefined;
  /** Ends the work at the next tensor: the call rejects with its reason. */
  readonly signal?: AbortSignal | undefined;
}

/**
 * Trained matrices are written in `dtype`, trained gains and biases in fp32, the others as their file has them; of a GGUF
 * file, quantized ones in `dtype`. One tensor is in memory at a time.
 */
export async function saveModel(
  folder: string,
  model: Model,
  trained: TrainedNumbers,
  dtype: Dtype,
  { signal, onProgress }: SaveOptions = {},
): Promise<void> {
  await writing(folder, () => makeFolder(folder));
  for (const [name, text] of model.folderFiles()) {
    await writeFileAtomic(join(folder, name), name === "config.json" ? tellDtype(text, dtype) : text);
  }
  // Without extra ones: beside a trained embedding, the copy for a tied head would be another.
  const sources = model.tensors.filter(({ name }) => !isExtraTensor(model.config, name));
  let done = 0;
  const tensors = sources.map((source) => {
    const tensor = tensorOf(source, trained, dtype);
    const data = async () => {
      signal?.throwIfAborted();
      onProgress?.(done++, sources.length);
      return tensor.data();
    };
    return [source.name, { ...tensor, data }] as const;
  });
  await writeSafetensors(join(folder, "model.safetensors"), new Map(tensors), { format: "pt" });
  onProgress?.(done, sources.length);
}

const NAMES = { bf16: "BF16", fp16: "F16", fp32: "F32" } as const;
const PLAIN: Readonly<Partial<Record<TensorSource["type"], Dtype>>> = { BF16: "bf16", F16: "fp16", F32: "fp32" };

function tensorOf(source: TensorSource, trained: TrainedNumbers, dtype: Dtype): LargeTensor {
  const { name, type, shape, permutedHeads } = source;
  const own = trained.get(name);
  const kept = shape.length > 1 ? dtype : "fp32"; // as the engine keeps them
  const written = own ? kept : (PLAIN[type] ?? kept);
  const data = async () => {
    if (!own && type in PLAIN && permutedHeads === undefined) return readTensorBytes(source);
    const numbers = await (own?.() ?? readTensor(source));
    return encodeVector(written === "fp32" ? numbers : roundVector(numbers, written), written);
  };
  return { dtype: NAMES[written], shape, data };
}

const NARROWER: Readonly<Record<Dtype, readonly string[]>> = {
  bf16: [],
  fp16: ["bfloat16"],
  fp32: ["bfloat16", "float16"],
};

/**
 * Readers round all weights to the type that config.json names, or to that of some weight where it names none: where that
 * may have fewer bits than `dtype`, it names another one.
 */
function tellDtype(text: string, dtype: Dtype): string {
  const config = JSON.parse(text) as Record<string, unknown>;
  const named = ["dtype", "torch_dtype"].filter((key) => typeof config[key] === "string");
  const keys = named.filter((key) => NARROWER[dtype].some((narrower) => narrower === config[key]));
  if (named.length === 0 && dtype === "fp32") keys.push("torch_dtype");
  if (keys.length === 0) return text;
  for (const key of keys) config[key] = dtype === "fp32" ? "float32" : "float16";
  return `${JSON.stringify(config, null, 2)}\n`;
}

/** A tensor as its file has it. ERR_FILE names that file, not the one that is being written. */
function readTensorBytes({ file, offset, bytes }: TensorSource): Promise<Uint8Array> {
  return reading(file, async () => {
    const handle = await open(file, "r");
    try {
      return await readBytesAt(handle, file, offset, bytes);
    } finally {
      await handle.close();
    }
  });
}
