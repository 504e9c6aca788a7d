/** Neighbours together, up to so many rows; what has more goes alone. */
export function pack<T>(items: readonly T[], rowsOf: (item: T) => number, mostRows: number): T[][] {
  const packs: T[][] = [];
  let rows = 0;
  for (const item of items) {
    if (packs.length === 0 || rows + rowsOf(item) > mostRows) {
      packs.push([]);
      rows = 0;
    }
    packs.at(-1)!.push(item);
    rows += rowsOf(item);
  }
  return packs;
}
