import type { Row } from "./figure.js";

/** What a share of 1 is drawn by, upwards, for these columns of the rows. */
interface ShareAxis {
  readonly type: "quantitative";
  readonly title: string;
  readonly axis: { readonly format: "%" };
  readonly scale: { readonly zero: false } | { readonly domain: [number, number] };
}

/** Less would fill the figure with what is one problem of a hundred, or with the rounding errors of equal means. */
const LEAST_SPAN = 0.02;

export function shareAxis(title: string, rows: readonly Row[], columns: readonly string[]): ShareAxis {
  const values = rows.flatMap((row) => columns.flatMap((column) => row[column] ?? [])).map(Number);
  const [low, high] = [values.reduce((a, b) => Math.min(a, b), 1), values.reduce((a, b) => Math.max(a, b), 0)];
  const middle = (low + high) / 2;
  const domain: [number, number] = [Math.max(0, middle - LEAST_SPAN), Math.min(1, middle + LEAST_SPAN)];
  const scale = high - low < LEAST_SPAN ? { domain } : ({ zero: false } as const);
  return { type: "quantitative", title, axis: { format: "%" }, scale };
}
