import { sameAnswer } from "../reward/answer.js";

/** What one completion said, and whether that is right. */
export interface Vote {
  readonly answer: string | null;
  readonly lenient: boolean;
}

/**
 * Whether the answer that most completions give is right (maj@k). Answers that say the same count together; of equally
 * frequent ones the first counts; completions without an answer do not vote.
 */
export function majorityIsRight(votes: readonly Vote[]): boolean {
  const parties: { answer: string; right: boolean; size: number }[] = [];
  for (const { answer, lenient } of votes) {
    if (answer === null) continue;
    const party = parties.find((other) => other.answer === answer || sameAnswer(answer, other.answer));
    if (party) party.size++;
    else parties.push({ answer, right: lenient, size: 1 });
  }
  const most = Math.max(...parties.map(({ size }) => size));
  return parties.find(({ size }) => size === most)?.right ?? false;
}

/** maj@k from n completions: the mean over the n / k groups of k that they fall into, in order; the rest is left out. */
export function majorityAtK(votes: readonly Vote[], k: number): number {
  const groups = Math.floor(votes.length / k);
  if (groups === 0) throw new RangeError(`maj@${k}: expected at least ${k} completions, found ${votes.length}`);
  const right = Array.from({ length: groups }, (_, i) => majorityIsRight(votes.slice(i * k, (i + 1) * k)));
  return right.filter(Boolean).length / groups;
}
