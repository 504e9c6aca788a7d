/** A model with its adapter in the weights, W' = W + B R A, as a Hugging Face folder. */
import { randomBytes } from "node:crypto";
import { existsSync } from "node:fs";
import { mkdir, rename, rm } from "node:fs/promises";
import { basename, dirname, join, resolve } from "node:path";
import { readTensorBytes, saveModel } from "../adapter/save-model.js";
import { decodeVector, roundVector } from "../adapter/vector-dtype.js";
import { TinyLoraError } from "../error.js";
import type { Model } from "../model/open.js";
import type { Dtype, TensorSource } from "../native/addon.js";
import type { LoraModule, PlainLora } from "./lora.js";

/** What rounding W' to the dtype that is written does to one module. */
export interface MergeError {
  readonly module: string;
  /** Largest |round(W') - W'|. */
  readonly largest: number;
  /** |round(W') - W'| / |W'|, Frobenius. */
  readonly relative: number;
  /** |(round(W') - W) - B R A| / |B R A|, Frobenius: the share of the update that is lost. 0 where nothing is changed. */
  readonly ofUpdate: number;
}

/** Writes the folder, which must not be there yet: all of it appears at once. Other weights stay as their file has them. */
export async function writeMerged(folder: string, model: Model, lora: PlainLora, dtype: Dtype): Promise<MergeError[]> {
  if (model.format !== "Hugging Face") {
    throw new TinyLoraError("ERR_MODEL", `${model.path}: merging needs a Hugging Face folder, found a GGUF file`);
  }
  if (existsSync(folder)) throw new TinyLoraError("ERR_FILE", `${folder}: expected no such folder yet, found one`);
  const weights = new Map(model.tensors.map((source) => [source.name, source]));
  const merged = new Map<string, { shape: readonly number[]; values: Float32Array }>();
  const errors: MergeError[] = [];
  for (const part of lora.modules) {
    const name = `${part.module.name}.weight`;
    const source = weights.get(name)!;
    const base = await readWeight(source);
    const sum = addUpdate(base, part, lora.rank);
    const values = roundVector(sum, dtype);
    merged.set(name, { shape: source.shape, values });
    errors.push({ module: part.module.name, ...mergeError(base, sum, values) });
  }
  const temporary = join(
    dirname(resolve(folder)),
    `.${basename(folder)}.${process.pid}.${randomBytes(4).toString("hex")}`,
  );
  try {
    await mkdir(temporary, { recursive: true });
    await saveModel(temporary, model, merged, dtype);
    await rename(temporary, folder);
  } catch (error) {
    await rm(temporary, { recursive: true, force: true });
    throw error;
  }
  return errors;
}

async function readWeight(source: TensorSource): Promise<Float32Array> {
  const dtype = source.type === "BF16" ? "bf16" : source.type === "F16" ? "fp16" : "fp32";
  return decodeVector(await readTensorBytes(source), dtype);
}

/** W + B A in double, [out, in]. */
function addUpdate(base: Float32Array, { a, b, module: { in: inputs } }: LoraModule, rank: number): Float64Array {
  return Float64Array.from(base, (weight, at) => {
    const [row, column] = [Math.floor(at / inputs), at % inputs];
    let update = 0;
    for (let k = 0; k < rank; k++) update += b[row * rank + k]! * a[k * inputs + column]!;
    return weight + update;
  });
}

function mergeError(base: Float32Array, sum: Float64Array, rounded: Float32Array): Omit<MergeError, "module"> {
  let [largest, error, whole, update] = [0, 0, 0, 0];
  for (const [at, value] of sum.entries()) {
    const difference = rounded[at]! - value;
    largest = Math.max(largest, Math.abs(difference));
    error += difference ** 2;
    whole += value ** 2;
    update += (value - base[at]!) ** 2;
  }
  return {
    largest,
    relative: whole === 0 ? 0 : Math.sqrt(error / whole),
    ofUpdate: update === 0 ? 0 : Math.sqrt(error / update),
  };
}
