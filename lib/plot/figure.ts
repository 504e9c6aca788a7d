import type { TopLevelSpec } from "vega-lite";

export type Row = Readonly<Record<string, string | number | null>>;
/** Layers of vega-lite, drawn from rows by the names of their columns. */
export type Layers = Extract<TopLevelSpec, { layer: unknown }>["layer"];

export interface Figure {
  /** Of its files. */
  readonly name: string;
  readonly title: string;
  /** All that is drawn; the file NAME.csv holds the same. */
  readonly rows: readonly Row[];
  readonly layers: Layers;
}

/** The same columns in all rows, in the order of their first appearance. */
export function csv(rows: readonly Row[]): string {
  const columns = [...new Set(rows.flatMap((row) => Object.keys(row)))];
  const cell = (value: string | number | null | undefined) => {
    const text = String(value ?? "");
    return /[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  };
  return [columns, ...rows.map((row) => columns.map((column) => row[column]))]
    .map((cells) => `${cells.map(cell).join(",")}\n`)
    .join("");
}
