/** Letters of a word that count: more than a name has, and few enough for a word of a million. */
const LONGEST = 100;

/** The candidate with the fewest edits to `word` (insert, delete, replace); hyphens and case do not count. */
export function nearest(word: string, candidates: readonly string[]): string {
  const normal = (text: string) => text.slice(0, LONGEST).toLowerCase().replaceAll("-", "_");
  const distances = candidates.map((candidate) => editDistance(normal(word), normal(candidate)));
  return candidates[distances.indexOf(Math.min(...distances))] ?? "";
}

function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, j) => j); // row[j]: edits from a's first i letters to b's first j
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      const replaced = row[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1);
      next.push(Math.min(replaced, row[j]! + 1, next[j - 1]! + 1));
    }
    row = next;
  }
  return row[b.length]!;
}
