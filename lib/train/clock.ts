/** Seconds by phase. */
export class Clock {
  readonly seconds: Record<string, number> = {};
  readonly #start = performance.now();

  async time<T>(phase: string, run: () => Promise<T>): Promise<T> {
    const start = performance.now();
    try {
      return await run();
    } finally {
      this.seconds[phase] = (this.seconds[phase] ?? 0) + (performance.now() - start) / 1000;
    }
  }

  /** Seconds since the clock was made. */
  get total(): number {
    return (performance.now() - this.#start) / 1000;
  }
}
