import { sameAnswer } from "../reward/answer.js";

/** What one completion said, and whether that is right. */
interface Vote {
  readonly answer: string | null;
  readonly lenient: boolean;
}

/** Completions whose answers say the same; the first of them speaks for all. */
interface Party {
  readonly answer: string;
  readonly right: boolean;
  size: number;
}

/**
 * Whether the answer that most completions give is right (maj@k). Answers that say the same count together; of equally
 * frequent ones the first counts; completions without an answer do not vote.
 */
export function majorityIsRight(votes: readonly Vote[]): boolean {
  const parties: Party[] = [];
  const partyOf = new Map<string, Party>(); // to compare takes time: each text is compared once
  for (const { answer, lenient } of votes) {
    if (answer === null) continue;
    const known = partyOf.get(answer) ?? parties.find((other) => sameAnswer(answer, other.answer));
    const party = known ?? { answer, right: lenient, size: 0 };
    if (!known) parties.push(party);
    partyOf.set(answer, party);
    party.size++;
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
