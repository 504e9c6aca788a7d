/** What `bench --whole` prints: decode steps and training passes of a whole model whose weights are zeros. */
import { type BenchDevice, benchLimits, type Dtype, type MachineLimits, WholeModel } from "../lib/index.js";
import { interruptible } from "./exit.js";
import { table } from "./io.js";
import { Progress } from "./progress.js";
import { MODELS } from "./shapes.js";

/** Where something is timed, as native code takes it, as JSON and as a line. */
export interface TimedOn {
  readonly spec: BenchDevice;
  readonly description: object;
  readonly name: string;
}

interface Options {
  readonly shapes: string;
  readonly rows: readonly number[];
  readonly dtype: Dtype;
  readonly r: number;
  readonly seconds: number;
  readonly json?: true;
}

export interface WholeRow {
  readonly what: "decode step" | "training forward" | "training backward";
  readonly rows: number;
  readonly seconds: number;
  readonly gflops: number;
  /** Of weights alone. */
  readonly gbytes: number;
  /** The larger of the two as a share of the machine's limit. */
  readonly share: number;
}

const MOST_SEQUENCES = 512;
const LEAST_TRAINED = 512;

export async function printWhole(options: Options, on: TimedOn): Promise<void> {
  const { shapes, dtype, r, seconds } = options;
  await interruptible(async (signal) => {
    const limits = await benchLimits({ ...on.spec, seconds: Math.max(0.5, seconds) }, { signal });
    const results = await measure(options, on.spec, limits, signal);
    if (options.json) {
      console.log(JSON.stringify({ ...on.description, dtype, shapes, r, limits, whole: results }, null, 2));
      return;
    }
    console.log(`${on.name}, ${shapes}, ${dtype}, r ${r}\n${limitsLine(limits)}\n`);
    process.stdout.write(
      table(
        ["whole model", "rows", "ms", "rows/s", "GFLOP/s", "GB/s", "of peak"],
        results.map(({ what, rows, seconds: took, gflops, gbytes, share }) => [
          ...[what, rows, (1e3 * took).toFixed(2), (rows / took).toFixed(0), gflops.toFixed(1), gbytes.toFixed(1)],
          `${(100 * share).toFixed(0)} %`,
        ]),
      ),
    );
  });
}

export function limitsLine({ gflops: { fp32, bf16 }, gbytes }: MachineLimits): string {
  return `limits: ${fp32.toFixed(0)} GFLOP/s fp32, ${bf16.toFixed(0)} GFLOP/s bf16, ${gbytes.toFixed(1)} GB/s`;
}

async function measure(
  { shapes, rows: all, dtype, r, seconds }: Options,
  on: BenchDevice,
  limits: MachineLimits,
  signal: AbortSignal,
): Promise<WholeRow[]> {
  const shape = MODELS[shapes]!;
  const sampled = all.filter((rows) => rows <= MOST_SEQUENCES);
  const trained = all.filter((rows) => rows >= LEAST_TRAINED);
  const mostSequences = Math.max(1, ...sampled);
  const progress = new Progress("bench", " cases");
  const layers = shape.layers * layerWeights(shape);
  const head = shape.vocab * shape.hidden;
  const results: WholeRow[] = [];
  const add = (what: WholeRow["what"], rows: number, took: number, perRow: number, read: number) => {
    const gflops = (2e-9 * rows * perRow) / took;
    const gbytes = (1e-9 * (dtype === "fp32" ? 4 : 2) * read) / took;
    const share = Math.max(gflops / limits.gflops[dtype === "fp32" ? "fp32" : "bf16"], gbytes / limits.gbytes);
    results.push({ what, rows, seconds: took, gflops, gbytes, share });
  };
  try {
    using model = await WholeModel.load({ ...on, shape, dtype, rank: r, mostSequences }, signal);
    let done = 0;
    for (const rows of sampled) {
      add("decode step", rows, await model.decodeStep(rows, seconds, signal), layers + head, layers + head);
      progress.update(++done, sampled.length + trained.length);
    }
    for (const rows of trained) {
      const { forward, backward } = await model.trainingPass(rows, seconds, signal);
      add("training forward", rows, forward, layers + 2 * head, layers + head); // the derivative of the head as well
      add("training backward", rows, backward, layers, layers);
      progress.update(++done, sampled.length + trained.length);
    }
  } finally {
    progress.stop();
  }
  return results;
}

/** Of the products of a layer. */
function layerWeights({ hidden, intermediate, heads, kvHeads, headDim }: (typeof MODELS)[string]): number {
  return hidden * (2 * heads * headDim + 2 * kvHeads * headDim + 3 * intermediate);
}
