/** What is asked of the package's model: BPE, or Unigram, which has `tokenize`. */
interface Model {
  readonly merges?: readonly (readonly string[])[];
  readonly end_of_word_suffix?: string | undefined;
  readonly continuing_subword_suffix?: string | null;
  bpe?(word: string): string[];
  tokenize?(word: string): string[];
  encode(words: string[]): string[];
}

/** Letters of a word from which on it is long: the package keeps shorter ones in a cache. */
const LONG = 256;

/**
 * Makes the package's models fit for long words: its BPE takes ten seconds for a word of a million letters, its Unigram
 * fails at one of some 100,000 tokens. The tokens are the same.
 */
export function fitForLongWords(model: unknown): void {
  const { bpe, merges, tokenize, continuing_subword_suffix: between, end_of_word_suffix: end } = model as Model;
  const target = model as Model;
  if (tokenize && !bpe) target.encode = (words) => words.flatMap((word) => target.tokenize!(word));
  if (!bpe || !merges || between) return;
  let merger: Merger | undefined;
  target.bpe = (word) => {
    if (word.length < LONG) return bpe.call(target, word);
    merger ??= new Merger(merges);
    const letters = Array.from(word);
    if (end) letters.push(letters.pop()! + end);
    return merger.merge(letters);
  };
}

/** BPE on numbers: pairs are merged in the order of their ranks, of equal ones the first. */
class Merger {
  readonly #ids = new Map<string, number>();
  /** Of a pair, as left * size + right: its rank, the last where it is given twice. */
  readonly #ranks = new Map<number, number>();
  /** Of a rank: what its pair becomes. */
  readonly #becomes: number[] = [];
  readonly #size: number;

  constructor(merges: readonly (readonly string[])[]) {
    this.#size = 3 * merges.length + 1;
    for (const [rank, [left, right]] of merges.entries()) {
      if (left === undefined || right === undefined) continue;
      this.#becomes[rank] = this.#id(left + right);
      this.#ranks.set(this.#id(left) * this.#size + this.#id(right), rank);
    }
  }

  #id(text: string): number {
    const id = this.#ids.get(text) ?? this.#ids.size;
    this.#ids.set(text, id);
    return id;
  }

  merge(letters: readonly string[]): string[] {
    const count = letters.length;
    const ids = Int32Array.from(letters, (letter) => this.#ids.get(letter) ?? -1);
    const next = Int32Array.from(letters, (_, place) => place + 1);
    const before = Int32Array.from(letters, (_, place) => place - 1);
    const rankAt = (place: number) => {
      const right = next[place]!;
      if (right >= count || ids[place]! < 0 || ids[right]! < 0) return undefined;
      return this.#ranks.get(ids[place]! * this.#size + ids[right]!);
    };
    const queue = new Queue();
    const consider = (place: number) => {
      const rank = rankAt(place);
      if (rank !== undefined) queue.push(rank * count + place);
    };
    for (let place = 0; place < count; place++) consider(place);
    for (let least = queue.pop(); least !== undefined; least = queue.pop()) {
      const place = least % count;
      const rank = (least - place) / count;
      if (rankAt(place) !== rank) continue; // one of the two has been merged meanwhile
      const right = next[place]!;
      ids[place] = this.#becomes[rank]!;
      ids[right] = -1;
      next[place] = next[right]!;
      if (next[place]! < count) before[next[place]!] = place;
      if (before[place]! >= 0) consider(before[place]!);
      consider(place);
    }
    const tokens: string[] = [];
    for (let place = 0; place < count; place = next[place]!) tokens.push(letters.slice(place, next[place]).join(""));
    return tokens;
  }
}

/** A heap: the least number comes first. */
class Queue {
  readonly #heap: number[] = [];

  push(value: number): void {
    const heap = this.#heap;
    let place = heap.length;
    heap.push(value);
    while (place > 0) {
      const parent = (place - 1) >> 1;
      if (heap[parent]! <= value) break;
      heap[place] = heap[parent]!;
      place = parent;
    }
    heap[place] = value;
  }

  pop(): number | undefined {
    const heap = this.#heap;
    const least = heap[0];
    const value = heap.pop();
    if (value === undefined || heap.length === 0) return least;
    let place = 0;
    for (;;) {
      let child = 2 * place + 1;
      if (child >= heap.length) break;
      if (child + 1 < heap.length && heap[child + 1]! < heap[child]!) child++;
      if (heap[child]! >= value) break;
      heap[place] = heap[child]!;
      place = child;
    }
    heap[place] = value;
    return least;
  }
}
