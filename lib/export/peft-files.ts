/**
 * What PEFT saves: adapter_config.json and adapter_model.safetensors, written, and read with one clear sentence for what
 * is wrong.
 */
import { existsSync, statSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import type { z } from "zod";
import { encodeSafetensors, type SmallTensors } from "../adapter/safetensors.js";
import { decodeVector, type VectorDtype } from "../adapter/vector-dtype.js";
import { describeIssue } from "../config/describe-issue.js";
import { TinyLoraError, whyNot } from "../error.js";
import { writeFileAtomic } from "../files.js";
import { isObject } from "../is-object.js";
import { firstLine } from "../model/files.js";
import { readSafetensors } from "../model/safetensors.js";
import { show } from "../show.js";

export const PEFT_CONFIG = "adapter_config.json";
export const PEFT_TENSORS = "adapter_model.safetensors";
/** Of the names of tensors, before the base model's own. */
export const PEFT_PREFIX = "base_model.model.";

/** The name of a LoRA's A or B of a module. */
export function loraTensorName(module: string, part: "A" | "B"): string {
  return `${PEFT_PREFIX}${module}.lora_${part}.weight`;
}

export interface PeftTensor {
  readonly dtype: VectorDtype;
  readonly shape: readonly number[];
  readonly values: Float32Array;
}

const DTYPES: Readonly<Record<string, VectorDtype>> = { F32: "fp32", BF16: "bf16", F16: "fp16" };

export async function writePeftFiles(folder: string, tensors: SmallTensors, config: object): Promise<void> {
  await writeFileAtomic(join(folder, PEFT_TENSORS), encodeSafetensors(tensors, { format: "pt" }));
  await writeFileAtomic(join(folder, PEFT_CONFIG), `${JSON.stringify(config, null, 2)}\n`);
}

/** adapter_config.json as it is. */
export async function readPeftConfig(source: string): Promise<Readonly<Record<string, unknown>>> {
  const path = join(source, PEFT_CONFIG);
  const text = await readFile(path, "utf8").catch((cause) => {
    if (existsSync(source) && !statSync(source).isDirectory()) {
      throw refusePeft(source, "expected the folder that PEFT saved, found a file", cause);
    }
    throw refusePeft(path, `cannot be read (${whyNot(cause)}): expected a folder that PEFT saved`, cause);
  });
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw refusePeft(path, `not JSON (${firstLine(cause)})`, cause);
  }
  if (isObject(value)) return value;
  throw refusePeft(path, `expected an object, found ${show(value)}`);
}

export function checkPeftConfig<T extends z.ZodType>(source: string, config: object, schema: T): z.output<T> {
  const parsed = schema.safeParse(config);
  if (parsed.success) return parsed.data;
  const issue = parsed.error.issues[0]!;
  throw refusePeft(join(source, PEFT_CONFIG), describeIssue(issue, config));
}

export async function readPeftTensors(source: string): Promise<Map<string, PeftTensor>> {
  const file = join(source, PEFT_TENSORS);
  const bytes = await readFile(file).catch((cause) => {
    throw refusePeft(file, `cannot be read (${whyNot(cause)})`, cause);
  });
  return new Map(
    readSafetensors(file).map(({ name, offset, bytes: length, type, shape }) => {
      const dtype = DTYPES[type]!;
      const values = decodeVector(bytes.subarray(offset, offset + length), dtype);
      const broken = values.find((value) => !Number.isFinite(value));
      if (broken !== undefined) throw refusePeft(file, `${name}: expected finite numbers, found ${broken}`);
      return [name, { dtype, shape, values }];
    }),
  );
}

export function refusePeft(place: string, message: string, cause?: unknown): TinyLoraError {
  return new TinyLoraError("ERR_ADAPTER", `${place}: ${message}`, { cause });
}
