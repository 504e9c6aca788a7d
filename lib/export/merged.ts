/** A model with its adapter in the weights, W' = W + B R A, as a Hugging Face folder. */
import { randomBytes } from "node:crypto";
import { existsSync, statSync } from "node:fs";
import { rename, rm } from "node:fs/promises";
import { basename, dirname, join, resolve } from "node:path";
import { type SaveOptions, saveModel } from "../adapter/save-model.js";
import { roundVector } from "../adapter/vector-dtype.js";
import { TinyLoraError } from "../error.js";
import { makeFolder, writing } from "../files.js";
import type { Model } from "../model/open.js";
import type { Dtype } from "../native/addon.js";
import { readTensor } from "../native/session.js";
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

/**
 * Writes the folder, which must not be there yet: all of it appears at once. Other weights stay as their file has them;
 * of a GGUF file, quantized ones are written in `dtype` as well.
 */
export async function writeMerged(
  folder: string,
  model: Model,
  lora: PlainLora,
  dtype: Dtype,
  options: SaveOptions = {},
): Promise<MergeError[]> {
  checkNewFolder(folder);
  const sources = new Map(model.tensors.map((source) => [source.name, source]));
  const errors = new Map<string, MergeError>();
  const merged = lora.modules.map((part) => {
    const name = `${part.module.name}.weight`;
    const numbers = async () => {
      const base = await readTensor(sources.get(name)!);
      const sum = addUpdate(base, part, lora.rank);
      const values = roundVector(sum, dtype);
      errors.set(name, { module: part.module.name, ...mergeError(base, sum, values) });
      return values;
    };
    return [name, numbers] as const;
  });
  const temporary = join(
    dirname(resolve(folder)),
    `.${basename(folder)}.${process.pid}.${randomBytes(4).toString("hex")}`,
  );
  try {
    await writing(folder, () => makeFolder(temporary));
    await saveModel(temporary, model, new Map(merged), dtype, options);
    await writing(folder, () => rename(temporary, folder));
  } catch (error) {
    await rm(temporary, { recursive: true, force: true });
    throw error;
  }
  return merged.map(([name]) => errors.get(name)!); // the file has them in an order of its own
}

/** ERR_FILE where something is there already. */
export function checkNewFolder(folder: string): void {
  if (!existsSync(folder)) return;
  const what = statSync(folder).isDirectory() ? "folder" : "file";
  throw new TinyLoraError("ERR_FILE", `${folder}: expected a folder that is not there yet, found a ${what}`);
}

/** W + B A in double, [out, in]. */
function addUpdate(base: Float32Array, { a, b, module: { in: inputs } }: LoraModule, rank: number): Float64Array {
  const sum = Float64Array.from(base);
  const update = new Float64Array(inputs);
  for (let start = 0, row = 0; start < sum.length; start += inputs, row++) {
    update.fill(0);
    for (let k = 0; k < rank; k++) {
      const factor = b[row * rank + k]!;
      for (let column = 0; column < inputs; column++) update[column]! += factor * a[k * inputs + column]!;
    }
    for (let column = 0; column < inputs; column++) sum[start + column]! += update[column]!;
  }
  return sum;
}

function mergeError(base: Float32Array, sum: Float64Array, rounded: Float32Array): Omit<MergeError, "module"> {
  let [largest, error, whole, update] = [0, 0, 0, 0];
  for (let at = 0; at < sum.length; at++) {
    const value = sum[at]!;
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
