// Which .safetensors files of a Hugging Face folder hold the weights.
import { existsSync } from "node:fs";
import { basename, join } from "node:path";
import { TinyLoraError } from "../error.js";
import { isObject } from "../is-object.js";
import type { TensorSource } from "../native/model-source.js";
import { show } from "../show.js";
import { readJson } from "./files.js";
import { readSafetensors } from "./safetensors.js";

const SINGLE = "model.safetensors";
const INDEX = "model.safetensors.index.json";

export function hasWeights(folder: string): boolean {
  return existsSync(join(folder, SINGLE)) || existsSync(join(folder, INDEX));
}

export function readWeights(folder: string): TensorSource[] {
  const single = join(folder, SINGLE);
  const index = join(folder, INDEX);
  // In transformers' order: an index beside a single file is left over from other weights.
  if (existsSync(single)) return readSafetensors(single);
  if (existsSync(index)) return readShards(folder, index);
  throw new TinyLoraError("ERR_FILE", `${folder}: expected ${SINGLE} or ${INDEX}`);
}

/** The index and its shards must agree: each tensor in the shard that the index names, and no others. */
function readShards(folder: string, index: string): TensorSource[] {
  const fields = readJson(index);
  const found = fields.get("weight_map");
  const map = isObject(found) ? found : fields.fail("weight_map", "an object");
  const expected = new Map(Object.entries(map).map(([name, shard]) => [name, shardName(index, name, shard)] as const));
  const tensors = [...new Set(expected.values())].sort().flatMap((shard) => {
    const inShard = readSafetensors(join(folder, shard));
    const stray = inShard.find((tensor) => expected.get(tensor.name) !== shard);
    if (stray) fail(index, `tensor ${stray.name}: found in ${shard}, where weight_map does not have it`);
    return inShard;
  });
  const names = new Set(tensors.map((tensor) => tensor.name));
  for (const [name, shard] of expected) {
    if (!names.has(name)) fail(index, `tensor ${name}: expected in ${shard}, found no such tensor there`);
  }
  return tensors;
}

function shardName(index: string, tensor: string, shard: unknown): string {
  const plain = typeof shard === "string" && shard === basename(shard) && !/[/\\\0:]/.test(shard);
  if (!plain || !shard.endsWith(".safetensors")) {
    const found = show(shard);
    fail(index, `weight_map: ${tensor}: expected the name of a .safetensors file in the same folder, found ${found}`);
  }
  return shard;
}

function fail(index: string, message: string): never {
  throw new TinyLoraError("ERR_MODEL", `${index}: ${message}`);
}
