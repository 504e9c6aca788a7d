/** Counters of layers of real shapes on the stand-in for the driver. */
import { MODELS } from "../../bin/shapes.js";
import { CountedModel, type Dtype, type LayerCounts, type ModelShape, startCounting } from "../../lib/index.js";
import { answer, countInProcess } from "./counting-process.js";

export interface Counted {
  readonly model: string;
  readonly rows: number;
  readonly plain: LayerCounts;
  readonly fused: LayerCounts;
}

interface Wanted {
  readonly models: Readonly<Record<string, ModelShape>>;
  readonly rows: readonly number[];
  readonly rank: number;
  /** bf16 when not given. */
  readonly dtype?: Dtype;
}

/** Every model with every number of rows. */
export function countAs(architecture: 80 | 90, wanted: Wanted): Counted[] {
  return countInProcess(import.meta.filename, architecture, wanted);
}

/** A layer with a product of 4096 cubed: o. */
export function countCubeAs(architecture: 80 | 90, rank: number, dtype?: Dtype): Counted {
  const models = { cube: { ...MODELS["llama-3.1-8b"]!, vocab: 512, intermediate: 256 } };
  return countAs(architecture, { models, rows: [4096], rank, ...(dtype && { dtype }) })[0]!;
}

async function count({ models, rows, rank, dtype }: Wanted): Promise<Counted[]> {
  startCounting();
  const counts: Counted[] = [];
  for (const [name, shape] of Object.entries(models)) {
    using model = await CountedModel.load(shape, dtype);
    for (const many of rows) counts.push(await both(name, model, many, rank));
  }
  return counts;
}

async function both(name: string, model: CountedModel, rows: number, rank: number): Promise<Counted> {
  return { model: name, rows, plain: await model.count(rows, 0), fused: await model.count(rows, rank) };
}

await answer(import.meta.filename, count);
