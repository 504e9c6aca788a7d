/** What `bench --device cudasim` prints: counters of the products of one layer, plain and with the update fused in. */
import {
  CountedModel,
  type Dtype,
  type FusionCost,
  fusionCost,
  type LayerCounts,
  type ProductCounts,
  startCounting,
  total,
} from "../lib/index.js";
import { LESS_TO_MEASURE } from "../lib/native/bench.js";
import { own } from "../lib/native/session.js";
import { interruptible } from "./exit.js";
import { table } from "./io.js";
import { Progress } from "./progress.js";
import { MODELS } from "./shapes.js";

interface CounterRow {
  readonly pass: "forward" | "backward";
  readonly modules: string;
  readonly out: number;
  readonly in: number;
  readonly rows: number;
  readonly kernel: string;
  readonly launches: number;
  /** Warp instructions of the plain product. */
  readonly instructions: number;
  /** Tensor instructions over M N K / 2048. */
  readonly mma: number;
  /** Passes over shared memory over those without conflicts; null where the counted kernels make none (wgmma, TMA). */
  readonly shared: number | null;
  /** Bytes of global memory asked for by warps. */
  readonly bytes: number;
  readonly barriers: number;
  /** What the fused update adds to the product and to what makes its input. */
  readonly fusion: FusionCost;
}

interface Options {
  readonly shapes: string;
  readonly rows: readonly number[];
  readonly dtype: Dtype;
  readonly r: number;
  readonly json?: true;
}

export async function printCounters(options: Options): Promise<void> {
  const { shapes, dtype, r } = options;
  const results = await interruptible((signal) => count(options, signal)).catch((error: unknown) => {
    throw own(error, LESS_TO_MEASURE);
  });
  if (options.json) {
    console.log(JSON.stringify({ device: "cudasim", dtype, shapes, r, results }, null, 2));
    return;
  }
  console.log(`${shapes}, one layer on the stand-in for the CUDA driver, ${dtype}, r ${r}\n`);
  process.stdout.write(table(COUNTER_HEADS, results.map(counterCells)));
}

async function count({ shapes, rows, dtype, r }: Options, signal: AbortSignal): Promise<CounterRow[]> {
  startCounting();
  using model = await CountedModel.load(MODELS[shapes]!, dtype);
  const results: CounterRow[] = [];
  const progress = new Progress("counting", " passes");
  try {
    for (const [i, number] of rows.entries()) {
      signal.throwIfAborted();
      const plain = await model.count(number, 0);
      progress.update(2 * i + 1, 2 * rows.length);
      signal.throwIfAborted();
      results.push(...counterRows(number, plain, await model.count(number, r)));
      progress.update(2 * i + 2, 2 * rows.length);
    }
  } finally {
    progress.stop();
  }
  return results;
}

export function counterRows(rows: number, plain: LayerCounts, fused: LayerCounts): CounterRow[] {
  return (["forward", "backward"] as const).flatMap((pass) =>
    plain[pass].map((one) => ({ ...rowOf(pass, rows, one), fusion: fusionCost(pass, plain, fused, one.modules) })),
  );
}

function rowOf(pass: CounterRow["pass"], rows: number, plain: ProductCounts): Omit<CounterRow, "fusion"> {
  const product = total([plain.product]);
  const out = plain.outs.reduce((sum, one) => sum + one, 0);
  return {
    ...{ pass, modules: plain.modules, out, in: plain.in, rows, kernel: plain.product.kernel },
    launches: plain.before.length + 1,
    instructions: product.instructions,
    mma: product.mma / ((rows * out * plain.in) / 2048),
    shared: product.idealWavefronts > 0 ? product.wavefronts / product.idealWavefronts : null,
    bytes: 32 * product.sectors,
    barriers: product.barriers,
  };
}

const COUNTER_HEADS = [
  ...["pass", "modules", "n x k", "rows", "kernel", "instructions", "mma / min", "shared / ideal", "MB"],
  ...["fusion: instructions", "bytes", "launches"],
];

function counterCells(row: CounterRow): (string | number)[] {
  const more = (share: number) => `${share >= 0 ? "+" : ""}${(100 * share).toFixed(1)} %`;
  return [
    ...[row.pass, row.modules, `${row.out} x ${row.in}`, row.rows, row.kernel.replace(/^product_/, "")],
    ...[`${(row.instructions / 1e6).toFixed(2)} M`, row.mma.toFixed(2), row.shared?.toFixed(2) ?? "-"],
    ...[(row.bytes / 1e6).toFixed(1), more(row.fusion.instructions), more(row.fusion.bytes), `+${row.fusion.launches}`],
  ];
}
