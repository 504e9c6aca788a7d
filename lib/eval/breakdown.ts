import { groupBy } from "../group-by.js";
import { estimate } from "./statistics.js";

/** Columns that data sets use for how hard a problem is, and what it is about. */
const COLUMNS = {
  level: ["level", "difficulty"],
  subject: ["subject", "type", "Type", "category"],
} as const;
const MAX_VALUES = 40;

/** One line of a table of levels or subjects. */
export interface BreakdownRow {
  readonly value: string;
  readonly problems: number;
  readonly strict: number;
  readonly lenient: number;
  readonly standardError: number | null;
}

export type Breakdown = Readonly<Partial<Record<keyof typeof COLUMNS, BreakdownRow[]>>>;

/** A problem's row, and the shares of its completions that are right. */
interface Solved {
  readonly row: Readonly<Record<string, unknown>>;
  readonly strict: number;
  readonly lenient: number;
}

/** Tables by level and subject, where the rows say them and they differ. */
export function breakdown(problems: readonly Solved[]): Breakdown {
  const tables: { -readonly [K in keyof Breakdown]: Breakdown[K] } = {};
  for (const [kind, columns] of Object.entries(COLUMNS) as [keyof typeof COLUMNS, readonly string[]][]) {
    const column = columns.find((name) => problems.some(({ row }) => valueIn(row, name) !== null));
    if (column === undefined) continue;
    const groupOf = ({ row }: Solved) => valueIn(row, column) ?? "(none)";
    const groups = groupBy(problems, groupOf);
    if (groups.length < 2 || groups.length > MAX_VALUES) continue;
    tables[kind] = groups.map((members) => toRow(groupOf(members[0]!), members)).sort(byValue);
  }
  return tables;
}

function valueIn(row: Readonly<Record<string, unknown>>, column: string): string | null {
  const value = row[column];
  return (typeof value === "string" && value !== "") || typeof value === "number" ? String(value) : null;
}

function toRow(value: string, members: readonly Solved[]): BreakdownRow {
  const { mean, standardError } = estimate(members.map(({ lenient }) => lenient));
  const strict = estimate(members.map((member) => member.strict)).mean;
  return { value, problems: members.length, strict, lenient: mean, standardError };
}

/** Level 10 after level 9. */
function byValue(a: BreakdownRow, b: BreakdownRow): number {
  return a.value.localeCompare(b.value, "en", { numeric: true });
}
