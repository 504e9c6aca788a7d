/**
 * How long judging an answer takes: milliseconds of this process for each pair of Math-Verify's cases
 * (test/unit/reward/cases). Prints the median, the 99th percentile and the most.
 *
 *   npx tsx benchmarks/judging.ts
 */
import { readFileSync } from "node:fs";
import { grade } from "../lib/reward/answer.js";
import { readFlags } from "./flags.js";
import { emit } from "./measurement.js";

readFlags({});

const lines = readFileSync(new URL("../test/unit/reward/cases/math-verify.jsonl", import.meta.url), "utf8").trim();
const pairs = lines.split("\n").map((line) => JSON.parse(line) as { gold: string; pred: string });

const times = pairs.map(({ gold, pred }) => {
  const start = process.cpuUsage();
  grade(pred, gold);
  const { user, system } = process.cpuUsage(start);
  return (user + system) / 1000;
});
times.sort((a, b) => a - b);
for (const share of [0.5, 0.99, 1]) {
  const value = times[Math.min(times.length - 1, Math.floor(share * times.length))] ?? Number.NaN;
  emit(`judging p${100 * share}`, "ms", value, { pairs: pairs.length });
}
