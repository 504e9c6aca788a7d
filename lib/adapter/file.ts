import { createHash } from "node:crypto";
import { readFile, stat } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { z } from "zod";
import { describeIssue } from "../config/describe-issue.js";
import { TinyLoraError, whyNot } from "../error.js";
import { writeFileAtomic } from "../files.js";
import { isObject } from "../is-object.js";
import { show } from "../show.js";
import { MODULE_TYPES } from "./modules.js";
import {
  decodeSafetensors,
  encodeSafetensors,
  floatTensor,
  type SmallTensor,
  type SmallTensors,
  tensorFloats,
} from "./safetensors.js";
import type { AdapterFacts } from "./short-string.js";
import { adapterSpec, DISTRIBUTIONS, KIND_NAMES, SPLITS } from "./spec.js";
import { makeTying, TYING_KINDS } from "./tying.js";
import { decodeVector, encodeVector, VECTOR_DTYPES, type VectorDtype } from "./vector-dtype.js";

/** A, B and P of the adapted modules by name, for a file that needs no SVD to be used. */
export type AdapterMatrices = ReadonlyMap<string, { a: Float32Array; b: Float32Array; p: Float32Array }>;

interface AdapterFile extends AdapterFacts {
  readonly matrices?: AdapterMatrices | undefined;
}

const FACTS = "adapter.json";
const TENSORS = "adapter.safetensors";
const FORMAT = 1;
const TENSOR_DTYPES: Record<VectorDtype, SmallTensor["dtype"]> = { fp32: "F32", bf16: "BF16", fp16: "F16" };

/** adapter.json: what a reader wants to know, and the checksum of adapter.safetensors beside it. */
const factsSchema = z.strictObject({
  format: z.literal(FORMAT),
  package_version: z.string(),
  kind: z.enum(KIND_NAMES),
  r: z.int(),
  u: z.int(),
  tying: z.enum(TYING_KINDS),
  n_tie: z.int().optional(),
  weight_tying: z.number().optional(),
  split: z.enum(SPLITS),
  projection: z.strictObject({ seed: z.int(), distribution: z.enum(DISTRIBUTIONS) }),
  target_modules: z.array(z.enum(MODULE_TYPES)),
  v_dtype: z.enum(VECTOR_DTYPES),
  trained: z.int(),
  base_fingerprint: z.string().regex(/^[0-9a-f]{16}$/, "expected 16 hex digits"),
  svd_recipe: z.int(),
  self_contained: z.boolean(),
  sha256: z.string(),
});
type Facts = z.infer<typeof factsSchema>;

/** The tensors first, then the facts with their checksum: a reader finds a pair that fits or an error that says so. */
export async function writeAdapterFile(folder: string, file: AdapterFile, packageVersion: string): Promise<void> {
  const { spec, v } = file;
  const tensors: SmallTensors = new Map([
    ["v", { dtype: TENSOR_DTYPES[spec.dtype], shape: [v.length / spec.u, spec.u], data: encodeVector(v, spec.dtype) }],
  ]);
  for (const [name, { a, b, p }] of file.matrices ?? []) {
    tensors.set(`${name}.A`, floatTensor(a, [spec.r, a.length / spec.r]));
    tensors.set(`${name}.B`, floatTensor(b, [b.length / spec.r, spec.r]));
    tensors.set(`${name}.P`, floatTensor(p, [spec.u, spec.r, spec.r]));
  }
  const bytes = encodeSafetensors(tensors, { format: "tinylora" });
  const facts: Facts = {
    format: FORMAT,
    package_version: packageVersion,
    kind: spec.kind,
    r: spec.r,
    u: spec.u,
    tying: spec.tying.kind,
    ...("nTie" in spec.tying ? { n_tie: spec.tying.nTie } : {}),
    ...("ratio" in spec.tying ? { weight_tying: spec.tying.ratio } : {}),
    split: spec.split,
    projection: spec.projection,
    target_modules: [...spec.targetModules],
    v_dtype: spec.dtype,
    trained: v.length,
    base_fingerprint: file.fingerprint,
    svd_recipe: file.svdRecipe,
    self_contained: file.matrices !== undefined,
    sha256: sha256(bytes),
  };
  await writeFileAtomic(join(folder, TENSORS), bytes);
  await writeFileAtomic(join(folder, FACTS), `${JSON.stringify(facts, null, 2)}\n`);
}

/** `path`: the adapter's folder, a run folder that holds one in `adapter/`, or one of the two files. */
export async function readAdapterFile(path: string): Promise<AdapterFile> {
  const folder = await findFolder(path);
  const factsPath = join(folder, FACTS);
  const tensorsPath = join(folder, TENSORS);
  const facts = parseFacts(await readOrRefuse(factsPath), factsPath);
  const bytes = await readOrRefuse(tensorsPath);
  if (sha256(bytes) !== facts.sha256) {
    throw new TinyLoraError(
      "ERR_ADAPTER",
      `${tensorsPath}: not the file that ${FACTS} describes (the checksum does not match)`,
    );
  }
  const { tensors } = decodeSafetensors(bytes, tensorsPath);
  const spec = specOf(facts, factsPath);
  return {
    spec,
    fingerprint: facts.base_fingerprint,
    svdRecipe: facts.svd_recipe,
    v: readVector(tensors, facts, tensorsPath),
    matrices: facts.self_contained ? readMatrices(tensors, tensorsPath) : undefined,
  };
}

async function findFolder(path: string): Promise<string> {
  const found = await stat(path).catch((cause) => {
    throw new TinyLoraError(
      "ERR_ADAPTER",
      `${path}: no such adapter: expected a folder with ${FACTS}, or a string that begins with tl1-`,
      {
        cause,
      },
    );
  });
  if (found.isDirectory()) {
    for (const folder of [path, join(path, "adapter")]) {
      if (await stat(join(folder, FACTS)).catch(() => undefined)) return folder;
    }
    const model = join(path, "model"); // where a run that trained all weights leaves them
    const hint = (await stat(model).catch(() => undefined))
      ? `; found a model that was trained itself: name ${model} as the model`
      : "";
    throw new TinyLoraError("ERR_ADAPTER", `${path}: expected ${FACTS} in this folder, or in adapter/ of it${hint}`);
  }
  if (![FACTS, TENSORS].includes(basename(path))) {
    throw new TinyLoraError("ERR_ADAPTER", `${path}: expected ${FACTS}, ${TENSORS} or their folder`);
  }
  return dirname(path);
}

async function readOrRefuse(path: string): Promise<Buffer> {
  return readFile(path).catch((cause) => {
    throw new TinyLoraError("ERR_ADAPTER", `${path}: cannot be read (${whyNot(cause)})`, { cause });
  });
}

function parseFacts(bytes: Buffer, path: string): Facts {
  let value: unknown;
  try {
    value = JSON.parse(bytes.toString("utf8"));
  } catch (cause) {
    throw new TinyLoraError("ERR_ADAPTER", `${path}: not JSON (${(cause as Error).message})`, { cause });
  }
  const parsed = factsSchema.safeParse(value);
  if (parsed.success) return parsed.data;
  const issue = parsed.error.issues[0]!;
  const told = isObject(value) ? describeIssue(issue, value) : `expected an object, found ${show(value)}`;
  throw new TinyLoraError("ERR_ADAPTER", `${path}: ${told}`);
}

function specOf(facts: Facts, path: string): AdapterFacts["spec"] {
  let spec: AdapterFacts["spec"];
  try {
    spec = adapterSpec({
      kind: facts.kind,
      r: facts.r,
      u: facts.u,
      tying: makeTying(facts.tying, facts.n_tie, facts.weight_tying),
      split: facts.split,
      projection: facts.projection,
      targetModules: facts.target_modules,
      dtype: facts.v_dtype,
    });
  } catch (cause) {
    throw new TinyLoraError("ERR_ADAPTER", `${path}: ${(cause as Error).message}`, { cause });
  }
  if (spec.u === facts.u) return spec;
  throw new TinyLoraError("ERR_ADAPTER", `${path}: u: expected ${spec.u} for ${spec.kind}, found ${facts.u}`);
}

function readVector(tensors: SmallTensors, facts: Facts, path: string): Float32Array {
  const v = tensors.get("v");
  const dtype = TENSOR_DTYPES[facts.v_dtype];
  if (
    !v ||
    v.dtype !== dtype ||
    v.shape.length !== 2 ||
    v.shape[1] !== facts.u ||
    v.shape[0]! * facts.u !== facts.trained
  ) {
    const found = v ? `${v.dtype} [${v.shape}]` : "none";
    throw new TinyLoraError(
      "ERR_ADAPTER",
      `${path}: v: expected ${dtype} [${facts.trained / facts.u},${facts.u}], found ${found}`,
    );
  }
  const values = decodeVector(v.data, facts.v_dtype);
  if (!values.every(Number.isFinite)) throw new TinyLoraError("ERR_ADAPTER", `${path}: v: expected finite numbers`);
  return values;
}

function readMatrices(tensors: SmallTensors, path: string): AdapterMatrices {
  const matrices = new Map<string, { a: Float32Array; b: Float32Array; p: Float32Array }>();
  for (const [key, a] of tensors) {
    if (!key.endsWith(".A")) continue;
    const name = key.slice(0, -2);
    const [b, p] = [tensors.get(`${name}.B`), tensors.get(`${name}.P`)];
    if (!b || !p) continue;
    const other = [a, b, p].find(({ dtype }) => dtype !== "F32");
    if (other) {
      throw new TinyLoraError("ERR_ADAPTER", `${path}: ${name}: expected A, B and P of F32, found ${other.dtype}`);
    }
    matrices.set(name, { a: tensorFloats(a), b: tensorFloats(b), p: tensorFloats(p) });
  }
  return matrices;
}

function sha256(bytes: Uint8Array): string {
  return createHash("sha256").update(bytes).digest("hex");
}
