/** The table of the head's predicted times for docs/performance.md. */
import { MODELS } from "../../bin/shapes.js";
import { markdownTable } from "../../lib/markdown.js";
import { GPUS } from "./estimate.js";
import { headTime } from "./head-time.js";
import { MEMBERS, PROMPTS, SAMPLES, SCORED_ROWS, type StepCounts } from "./population-counts.js";
import type { Residents } from "./product-time.js";

const ALONE = PROMPTS * SAMPLES;
const TOGETHER = MEMBERS * ALONE;

/** `counts`: the same models for each architecture. */
export function headTable(counts: Readonly<Record<string, readonly StepCounts[]>>, blocks: Residents): string {
  const lines = counts.sm_80!.flatMap(({ model }, i) =>
    GPUS.map((gpu) => {
      const { training, decodeAlone, decodeTogether } = counts[gpu.architecture]![i]!;
      const { vocab, hidden } = MODELS[model]!;
      const time = (launches: typeof training.head, rows: number) =>
        headTime(gpu, launches, { vocab, hidden }, rows, blocks);
      const scored = time(training.head, SCORED_ROWS);
      const peak = 2 * gpu.tensor * gpu.multiprocessors * gpu.hertz;
      const share = (4 * SCORED_ROWS * vocab * hidden) / scored / peak;
      return [
        ...[model, gpu.name, (1e3 * scored).toFixed(2), `${(100 * share).toFixed(0)} %`],
        ...[time(decodeAlone.sample, ALONE), time(decodeTogether.sample, TOGETHER)].map((one) =>
          (1e6 * one).toFixed(0),
        ),
      ];
    }),
  );
  return markdownTable(
    [
      ...["predicted head", "GPU", `scores and derivative of ${SCORED_ROWS} rows, ms`, "of peak"],
      ...[ALONE, TOGETHER].map((rows) => `sampling ${rows} rows, us`),
    ],
    lines,
  );
}
