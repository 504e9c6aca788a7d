import { SingleBar } from "cli-progress";
import { Pace } from "./pace.js";

/** Milliseconds before the first line and between two, where there is no terminal. */
const SILENCE = 30_000;

/** How far some work is, on stderr: a bar with rate and time left, or, where that is no terminal, a line now and then. */
export class Progress {
  #bar: SingleBar | undefined;
  #lines: NodeJS.Timeout | undefined;
  #label: string;
  #unit: string;
  #pace: Pace;
  #begun = Date.now();
  #done: number | undefined;
  #now: { total: number; note: string } | undefined;

  /** Made when the work begins; `begun`: what is done then, as of a run that is resumed. To be stopped when it ends. */
  constructor(label: string, unit = "", begun = 0) {
    this.#pace = new Pace({ done: begun, at: Date.now() });
    this.#label = label;
    this.#unit = unit;
    this.#speakLater();
  }

  update = (done: number, total: number, note = ""): void => {
    if (total <= 0) return;
    if (done !== this.#done) this.#pace.mark(done, Date.now());
    this.#done = done;
    this.#now = { total, note };
    this.#speakLater();
    if (!process.stderr.isTTY) return;
    this.#bar ??= this.#start(total, done);
    this.#bar.setTotal(total);
    this.#bar.update(done, { note });
  };

  /** Takes the bar away, or keeps silent, until the next update: its rate goes on. */
  stop(): void {
    this.#bar?.stop();
    this.#bar = undefined;
    clearInterval(this.#lines);
    this.#lines = undefined;
  }

  /** What comes now is counted anew. */
  restart(): void {
    this.stop();
    this.#pace = new Pace();
    this.#begun = Date.now();
    this.#done = undefined;
    this.#now = undefined;
    this.#speakLater();
  }

  #speakLater(): void {
    if (!process.stderr.isTTY) this.#lines ??= setInterval(() => console.error(this.#line()), SILENCE).unref();
  }

  /** "training: 3 of 150 steps, 2 %, sampling 12/64, 1:30 so far, 1 h 13 min left" */
  #line(): string {
    const [done, so] = [this.#done, `${duration((Date.now() - this.#begun) / 1000)} so far`];
    if (this.#now === undefined || done === undefined) return `${this.#label}: ${so}`;
    const { total, note } = this.#now;
    const left = this.#pace.left(total, Date.now());
    const parts = [`${short(done)} of ${short(total)}${this.#unit}`, `${Math.round((100 * done) / total)} %`, note, so];
    if (left !== null) parts.push(`${duration(left)} left`);
    return `${this.#label}: ${parts.filter((part) => part !== "").join(", ")}`;
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
