/** The table of predicted populations for docs/performance.md. */

import { markdownTable } from "../../lib/markdown.js";
import { GPUS } from "./estimate.js";
import { estimatePopulation, seconds } from "./estimate-population.js";
import { MEMBERS, type StepCounts } from "./population-counts.js";
import type { Residents } from "./product-time.js";

const NEW_TOKENS = [256, 1024];

/** `counts`: the same models for each architecture. */
export function populationTable(counts: Readonly<Record<string, readonly StepCounts[]>>, blocks: Residents): string {
  const ms = (time: number) => (1e3 * time).toFixed(time < 0.01 ? 1 : 0);
  const lines = counts.sm_80!.flatMap(({ model }, i) =>
    NEW_TOKENS.flatMap((newTokens) =>
      GPUS.map((gpu) => {
        const own = counts[gpu.architecture]![i]!;
        const [all, half] = [1, 0.5].map((learning) => estimatePopulation(gpu, own, newTokens, learning, blocks));
        const { alone, together, ratio, decodeRatio } = all!;
        return [
          ...[model, newTokens, gpu.name],
          [alone.prefill, alone.decode, alone.forward, alone.backward].map(ms).join(" + "),
          ...[ms(MEMBERS * seconds(alone)), ms(seconds(together)), ms(together.decode)],
          ...[decodeRatio.toFixed(1), ratio.toFixed(1), half!.ratio.toFixed(1)],
        ];
      }),
    ),
  );
  return markdownTable(
    [
      ...["predicted step", "new tokens", "GPU", "a run alone, ms: prompts + decoding + forward + backward"],
      ...[`${MEMBERS} one after another, ms`, "side by side, ms", "of it decoding", "decoding: ratio", "ratio"],
      "ratio, half of the groups without gradient",
    ],
    lines,
  );
}
