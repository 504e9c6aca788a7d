import { SingleBar } from "cli-progress";
import { Pace } from "./pace.js";

/** A bar with rate and time left on stderr, nothing where that is no terminal. */
export class Progress {
  #bar: SingleBar | undefined;
  #label: string;
  #unit: string;
  #pace: Pace;
  #done: number | undefined;

  /** Made when the work begins; `begun`: what is done then, as of a run that is resumed. */
  constructor(label: string, unit = "", begun = 0) {
    this.#pace = new Pace({ done: begun, at: Date.now() });
    this.#label = label;
    this.#unit = unit;
  }

  update = (done: number, total: number, note = ""): void => {
    if (!process.stderr.isTTY || total <= 0) return;
    if (done !== this.#done) this.#pace.mark(done, Date.now());
    this.#done = done;
    this.#bar ??= this.#start(total, done);
    this.#bar.setTotal(total);
    this.#bar.update(done, { note });
  };

  /** Takes the bar away, until the next update: its rate goes on. */
  stop(): void {
    this.#bar?.stop();
    this.#bar = undefined;
  }

  /** What comes now is counted anew. */
  restart(): void {
    this.stop();
    this.#pace = new Pace();
    this.#done = undefined;
  }

  #start(total: number, done: number): SingleBar {
    const bar = new SingleBar({
      stream: process.stderr,
      hideCursor: true,
      clearOnComplete: true,
      format: (_, { value, total: all }, payload: { note?: string }) => {
        const width = 24;
        const filled = Math.round((width * value) / all);
        const rate = this.#pace.rate();
        const left = this.#pace.left(all, Date.now());
        const speed = rate === null ? "" : `${short(rate)}${this.#unit}/s  ${duration(left ?? 0)} left  `;
        const share = `${Math.round((100 * value) / all)} %`.padStart(5);
        const blocks = "=".repeat(filled).padEnd(width);
        return `${this.#label} [${blocks}] ${share}  ${speed}${payload.note ?? ""}`;
      },
    });
    bar.start(total, done, { note: "" });
    return bar;
  }
}

/** Three significant digits with k, M, G. */
function short(value: number): string {
  const scale = [1e9, 1e6, 1e3].find((size) => value >= size) ?? 1;
  return `${Number((value / scale).toPrecision(3))}${{ 1e9: "G", 1e6: "M", 1e3: "k", 1: "" }[scale]}`;
}

function duration(seconds: number): string {
  const whole = Math.round(seconds);
  const [minutes, rest] = [Math.floor(whole / 60), whole % 60];
  return minutes >= 60
    ? `${Math.floor(minutes / 60)} h ${minutes % 60} min`
    : `${minutes}:${String(rest).padStart(2, "0")}`;
}
