/** TinyLoRA adapters in PEFT's files, both ways. A, B and P travel in the file: PEFT's own are not computed again. */
import { join } from "node:path";
import { z } from "zod";
import type { Adapter, AdapterBase } from "../adapter/adapter.js";
import { type AdapterMatrices, writeAdapterFile } from "../adapter/file.js";
import { MODULE_TYPES } from "../adapter/modules.js";
import { floatTensor, type SmallTensors } from "../adapter/safetensors.js";
import { adapterSpec, LARGEST_RANK } from "../adapter/spec.js";
import { SVD_RECIPE } from "../adapter/svd-cache.js";
import { tieGroups } from "../adapter/tying.js";
import { TinyLoraError } from "../error.js";
import { packageVersion } from "../version.js";
import type { AttachedBasis } from "./lora.js";
import {
  checkPeftConfig,
  PEFT_PREFIX,
  PEFT_TENSORS,
  readPeftConfig,
  readPeftTensors,
  refusePeft,
  writePeftFiles,
} from "./peft-files.js";

/**
 * The files that PEFT loads as a TinyLoRA adapter, with `baseModel` as the name of its model. ERR_ADAPTER where PEFT has no
 * such tying.
 */
export async function writePeftTinyLora(
  folder: string,
  adapter: Adapter,
  { modules, basis }: AttachedBasis,
  baseModel: string,
): Promise<void> {
  const { u, rank, groups } = basis;
  const tying = 1 - groups / basis.modules.length;
  const peftGroups = tieGroups(
    { kind: "ratio", ratio: tying },
    basis.modules.map(({ module }) => modules[module]!),
  );
  if (basis.modules.some(({ group }, place) => group !== peftGroups.of[place])) {
    throw new TinyLoraError(
      "ERR_ADAPTER",
      `PEFT ties runs of equal length in model order: this adapter's tying (${adapter.spec.tying.kind}) has no such form; export it as lora`,
    );
  }
  const tensors: SmallTensors = new Map();
  for (let group = 0; group < groups; group++) {
    tensors.set(vectorName(group), floatTensor(adapter.v.slice(group * u, (group + 1) * u), [u]));
  }
  for (const { module, a, b, p } of basis.modules) {
    const { name, in: inputs, out: outputs } = modules[module]!;
    tensors.set(matrixName(name, "A"), floatTensor(a, [rank, inputs]));
    tensors.set(matrixName(name, "B"), floatTensor(b, [outputs, rank]));
    tensors.set(matrixName(name, "P"), floatTensor(p, [u, rank, rank]));
  }
  const config = {
    peft_type: "TINYLORA",
    task_type: "CAUSAL_LM",
    base_model_name_or_path: baseModel,
    inference_mode: true,
    r: rank,
    u,
    weight_tying: tying,
    projection_seed: adapter.spec.projection.seed,
    save_projection: true,
    init_weights: true,
    tinylora_dropout: 0,
    target_modules: adapter.spec.targetModules,
    fan_in_fan_out: false,
    bias: "none",
    modules_to_save: null,
  };
  await writePeftFiles(folder, tensors, config);
}

const vectorName = (group: number | "") => `base_model.tinylora_v.${group}`;
const matrixName = (module: string, part: string) => `${PEFT_PREFIX}${module}.tinylora_${part}`;

const configSchema = z.looseObject({
  peft_type: z.literal("TINYLORA", "expected TINYLORA"),
  r: z.int().min(1).max(LARGEST_RANK, `expected at most ${LARGEST_RANK}`),
  u: z.int().min(1),
  weight_tying: z.number().min(0).max(1).default(0),
  projection_seed: z.int().min(0).default(42),
  bias: z.literal("none").default("none"),
  modules_to_save: z.null().default(null),
  fan_in_fan_out: z.literal(false).default(false),
});

/** Reads PEFT's folder `source` and writes it as a self-contained adapter of `base` to `folder`. */
export async function importPeftTinyLora(source: string, base: AdapterBase, folder: string): Promise<void> {
  const config = checkPeftConfig(source, await readPeftConfig(source), configSchema);
  const file = join(source, PEFT_TENSORS);
  const tensors = await readPeftTensors(source);
  const { r, u } = config;
  const take = (name: string, shape: readonly number[]) => {
    const tensor = tensors.get(name);
    if (tensor?.shape.join() === shape.join()) return tensor;
    throw refusePeft(file, `${name}: expected [${shape}], found ${tensor ? `[${tensor.shape}]` : "none"}`);
  };
  const targetModules = MODULE_TYPES.filter((type) =>
    [...tensors.keys()].some((name) => name.endsWith(`.${type}.tinylora_A`)),
  );
  const adapted = base.modules.filter(({ type }) => targetModules.includes(type));
  const tying = { kind: "ratio", ratio: config.weight_tying } as const;
  const vectorNames = Array.from({ length: tieGroups(tying, adapted).count }, (_, group) => vectorName(group));
  const matrixNames = adapted.flatMap(({ name }) => ["A", "B", "P"].map((part) => matrixName(name, part)));
  const known = new Set([...matrixNames, ...vectorNames]);
  const foreign = [...tensors.keys()].find((name) => !known.has(name));
  if (foreign !== undefined) {
    const reason = foreign.startsWith(vectorName(""))
      ? `weight_tying ${config.weight_tying} makes ${vectorNames.length} vectors of ${adapted.length} modules`
      : "the base model has no such module, or it cannot be adapted";
    throw refusePeft(file, `${foreign}: ${reason}`);
  }
  if (targetModules.length === 0) throw refusePeft(file, "expected tensors named tinylora_A, found none");

  const matrices: AdapterMatrices = new Map(
    adapted.map(({ name, in: inputs, out }) => {
      if (tensors.has(matrixName(name, "A")) && !tensors.has(matrixName(name, "P"))) {
        throw refusePeft(
          file,
          `${name}: it was saved without its projections (save_projection: false), which only torch can make`,
        );
      }
      const part = (letter: string, shape: readonly number[]) => take(matrixName(name, letter), shape).values;
      return [name, { a: part("A", [r, inputs]), b: part("B", [out, r]), p: part("P", [u, r, r]) }];
    }),
  );
  const vectors = vectorNames.map((name) => take(name, [u]));
  const v = Float32Array.from(vectors.flatMap(({ values }) => [...values]));
  const spec = adapterSpec({
    r,
    u,
    tying,
    split: "sqrt",
    projection: { seed: config.projection_seed, distribution: "normal" },
    targetModules,
    dtype: vectors[0]!.dtype,
  });
  await writeAdapterFile(
    folder,
    { spec, fingerprint: base.fingerprint, svdRecipe: SVD_RECIPE, v, matrices },
    packageVersion(),
  );
}
