/** PEFT's LoRA as an adapter of kind lora: A and B as they are, v the scale alpha / r, or alpha / sqrt(r) with rslora. */
import { join } from "node:path";
import { z } from "zod";
import { Adapter, type AdapterBase } from "../adapter/adapter.js";
import type { AdapterMatrices } from "../adapter/file.js";
import { MODULE_TYPES } from "../adapter/modules.js";
import { LARGEST_RANK } from "../adapter/spec.js";
import type { LinearModule } from "../native/addon.js";
import {
  checkPeftConfig,
  loraTensorName,
  PEFT_TENSORS,
  type PeftTensor,
  readPeftConfig,
  readPeftTensors,
  refusePeft,
} from "./peft-files.js";

const off = (what: string) => z.literal(false, `expected false (${what} is not supported)`).default(false);
const absent = (what: string) => z.null(`expected null (${what} is not supported)`).default(null);
/** Other ways to begin (pissa, olora, corda, ...) change the base model's own weights, and PEFT does so again on loading. */
const BEGINNINGS = ["gaussian", "eva", "orthogonal"] as const;
const empty = z.record(z.string(), z.never("expected no rank or alpha of its own for a module")).nullish();

const configSchema = z.looseObject({
  peft_type: z.literal("LORA", "expected LORA"),
  r: z.int().min(1).max(LARGEST_RANK, `expected at most ${LARGEST_RANK}`),
  lora_alpha: z.number().positive(),
  use_rslora: z.boolean().default(false),
  use_dora: off("DoRA"),
  use_qalora: off("QALoRA"),
  lora_bias: off("a bias of B"),
  fan_in_fan_out: off("a transposed weight"),
  init_lora_weights: z
    .union([z.boolean(), z.enum(BEGINNINGS)], `expected true, false, ${BEGINNINGS.join(" or ")} (others change W)`)
    .default(true),
  alora_invocation_tokens: absent("a LoRA that wakes at some tokens"),
  layer_replication: absent("a model of repeated layers"),
  bias: z.literal("none", 'expected "none" (trained biases are not supported)').default("none"),
  modules_to_save: z.null("expected null (whole modules in an adapter are not supported)").default(null),
  rank_pattern: empty,
  alpha_pattern: empty,
});

/** Reads PEFT's folder `source` and writes it as an adapter of `base` to `folder`. */
export async function importPeftLora(source: string, base: AdapterBase, folder: string): Promise<void> {
  const config = checkPeftConfig(source, await readPeftConfig(source), configSchema);
  const file = join(source, PEFT_TENSORS);
  const tensors = await readPeftTensors(source);
  const targetModules = MODULE_TYPES.filter((type) =>
    [...tensors.keys()].some((name) => name.endsWith(`.${type}.lora_A.weight`)),
  );
  const adapted = base.modules.filter(({ type }) => targetModules.some((target) => target === type));
  const known = new Set(adapted.flatMap(({ name }) => [loraTensorName(name, "A"), loraTensorName(name, "B")]));
  const foreign = [...tensors.keys()].find((name) => !known.has(name));
  if (foreign !== undefined) {
    throw refusePeft(file, `${foreign}: the base model has no such module, or it cannot be adapted`);
  }
  if (targetModules.length === 0) throw refusePeft(file, "expected tensors named lora_A, found none");

  const { r, lora_alpha: alpha, use_rslora: rslora } = config;
  const adapter = Adapter.create(base, { kind: "lora", r, targetModules });
  await adapter
    .withVector([alpha / (rslora ? Math.sqrt(r) : r)])
    .withMatrices(matrices(adapter, adapted, tensors, file))
    .save(folder);
}

function matrices(
  { spec: { r: rank }, matrices: initial }: Adapter,
  adapted: readonly LinearModule[],
  tensors: ReadonlyMap<string, PeftTensor>,
  file: string,
): AdapterMatrices {
  const take = (name: string, shape: readonly number[]) => {
    const tensor = tensors.get(name);
    if (tensor?.shape.join() === shape.join()) return tensor.values;
    throw refusePeft(file, `${name}: expected [${shape}], found ${tensor ? `[${tensor.shape}]` : "none"}`);
  };
  return new Map(
    adapted.map(({ name, in: inputs, out }) => {
      const a = take(loraTensorName(name, "A"), [rank, inputs]);
      const b = take(loraTensorName(name, "B"), [out, rank]);
      return [name, { a, b, p: initial!.get(name)!.p }];
    }),
  );
}
