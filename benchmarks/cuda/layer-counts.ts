/** Counters of layers of real shapes on the stand-in for the driver. */
import { MODELS } from "../../bin/shapes.js";
import { CountedModel, type Dtype, type LayerCounts, startCounting } from "../../lib/index.js";
import { answer, countInProcess } from "./counting-process.js";

export interface Counted {
  readonly model: string;
  readonly rows: number;
  readonly plain: LayerCounts;
  readonly fused: LayerCounts;
}

export interface Counts {
  readonly layers: readonly Counted[];
  /** A layer with a product of 4096 cubed: o. */
  readonly cube: Counted;
}

interface Wanted {
  readonly models: readonly string[];
  readonly rows: readonly number[];
  readonly rank: number;
  /** bf16 when not given. */
  readonly dtype?: Dtype;
}

export function countAs(architecture: 80 | 90, wanted: Wanted): Counts {
  return countInProcess(import.meta.filename, architecture, wanted);
}

async function count({ models, rows, rank, dtype }: Wanted): Promise<Counts> {
  startCounting();
  const layers: Counted[] = [];
  for (const name of models) {
    using model = await CountedModel.load(MODELS[name]!, dtype);
    for (const many of rows) layers.push(await both(name, model, many, rank));
  }
  using cubic = await CountedModel.load({ ...MODELS["llama-3.1-8b"]!, vocab: 512, intermediate: 256 }, dtype);
  return { layers, cube: await both("llama-3.1-8b", cubic, 4096, rank) };
}

async function both(name: string, model: CountedModel, rows: number, rank: number): Promise<Counted> {
  return { model: name, rows, plain: await model.count(rows, 0), fused: await model.count(rows, rank) };
}

await answer(import.meta.filename, count);
