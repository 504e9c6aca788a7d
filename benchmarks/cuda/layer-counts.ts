/**
 * Counters of layers on the stand-in posing as a device of one compute capability. It reads its settings when it is opened,
 * so a second capability takes a second process: npx tsx benchmarks/cuda/layer-counts.ts 90 FILE MODEL,... ROWS,... RANK DTYPE
 * writes the counts as JSON.
 */
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { MODELS } from "../../bin/shapes.js";
import { CountedModel, type Dtype, type LayerCounts, startCounting } from "../../lib/index.js";

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

/** In a process of its own, as compute capability 8.0 (80) or 9.0 (90). */
export function countAs(architecture: 80 | 90, { models, rows, rank, dtype = "bf16" }: Wanted): Counts {
  const folder = mkdtempSync(join(tmpdir(), "counts-"));
  const file = join(folder, "counts.json");
  try {
    const script = [
      import.meta.filename,
      String(architecture),
      file,
      models.join(","),
      rows.join(","),
      String(rank),
      dtype,
    ];
    const { status } = spawnSync(process.execPath, ["--import", "tsx", ...script], {
      stdio: ["ignore", "inherit", "inherit"],
      env: { ...process.env, CUDASIM_ARCH: String(architecture), CUDASIM_MULTIPROCESSORS: "" },
    });
    if (status !== 0) throw new Error(`counting as sm_${architecture} failed: its message is above`);
    return JSON.parse(readFileSync(file, "utf8")) as Counts;
  } finally {
    rmSync(folder, { recursive: true });
  }
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

if (process.argv[1] === import.meta.filename) {
  const [, file, models, rows, rank, dtype] = process.argv.slice(2) as [string, string, string, string, string, Dtype];
  const wanted = { models: models.split(",").filter(Boolean), rows: rows.split(",").map(Number), rank: Number(rank) };
  writeFileSync(file, JSON.stringify(await count({ ...wanted, dtype })));
}
