import { TinyLoraError } from "../error.js";
import { isObject } from "../is-object.js";
import { show } from "../show.js";

export type Settings = Readonly<Record<string, unknown>>;

/** Combinations of a grid, and grids inside one another: what has more was not meant, or would not end. */
const MOST_COMBINATIONS = 10_000;
const DEEPEST = 16;

/**
 * Every combination that a grid stands for. A grid is a block or a list of blocks, one after another. A block gives each
 * key a value or a list of values to try; `grid` inside it is a grid of its own, combined with the rest of the block.
 */
export function expandGrid(grid: unknown, source: string, depth = 1): Settings[] {
  const blocks = Array.isArray(grid) ? grid : [grid];
  if (blocks.length === 0) throw refusal(source, "grid: expected at least one block, found []");
  if (depth > DEEPEST) throw refusal(source, `grid: expected at most ${DEEPEST} grids inside one another, found more`);
  const combinations: Settings[] = [];
  for (const block of blocks) {
    const own = expandBlock(block, source, depth);
    checkCount(combinations.length + own.length, source);
    combinations.push(...own);
  }
  return combinations;
}

function checkCount(combinations: number, source: string): void {
  if (combinations <= MOST_COMBINATIONS) return;
  throw refusal(source, `grid: expected at most ${MOST_COMBINATIONS} combinations, found ${combinations} or more`);
}

function expandBlock(block: unknown, source: string, depth: number): Settings[] {
  if (!isObject(block)) throw refusal(source, `grid: expected keys and values, found ${show(block)}`);
  const { grid, ...own } = block;
  let combinations: Settings[] = [{}];
  for (const [key, value] of Object.entries(own)) {
    const values = Array.isArray(value) ? value : [value];
    if (values.length === 0) throw refusal(source, `grid: ${key}: expected at least one value, found []`);
    checkCount(combinations.length * values.length, source);
    combinations = combinations.flatMap((settings) => values.map((one) => ({ ...settings, [key]: one })));
  }
  if (grid === undefined) return combinations;
  const inner = expandGrid(grid, source, depth + 1);
  checkCount(combinations.length * inner.length, source);
  const twice = Object.keys(own).find((key) => inner.some((settings) => key in settings));
  if (twice !== undefined) throw refusal(source, `grid: ${twice}: found in a block and again in the grid inside it`);
  return combinations.flatMap((settings) => inner.map((more) => ({ ...settings, ...more })));
}

function refusal(source: string, message: string): TinyLoraError {
  return new TinyLoraError("ERR_CONFIG", `${source}: ${message}`);
}
