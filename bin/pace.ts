interface Mark {
  readonly done: number;
  /** Milliseconds. */
  readonly at: number;
}

/** How fast something gets done since it began, or since it was first looked at where that is not known. */
export class Pace {
  #first: Mark | undefined;
  #last: Mark | undefined;

  constructor(begun?: Mark) {
    this.#first = begun;
  }

  mark(done: number, at: number): void {
    this.#last = { done, at };
    this.#first ??= this.#last;
  }

  /** A second; null until something more is done. */
  rate(): number | null {
    if (!this.#first || !this.#last || this.#last.done <= this.#first.done) return null;
    return (1000 * (this.#last.done - this.#first.done)) / Math.max(1, this.#last.at - this.#first.at);
  }

  /** Seconds until `total` are done; null until there is a rate. */
  left(total: number, now: number): number | null {
    const rate = this.rate();
    if (rate === null || !this.#last) return null;
    return Math.max(0, (total - this.#last.done) / rate - (now - this.#last.at) / 1000);
  }
}
