/** Items by key, keys and items in the order of their first appearance. */
export function groupBy<T>(items: readonly T[], key: (item: T, index: number) => string): T[][] {
  const groups = new Map<string, T[]>();
  for (const [index, item] of items.entries()) {
    const name = key(item, index);
    const group = groups.get(name);
    if (group) group.push(item);
    else groups.set(name, [item]);
  }
  return [...groups.values()];
}
