import { SingleBar } from "cli-progress";

/** A bar with rate and time left on stderr, nothing where that is no terminal. */
export class Progress {
  #bar: SingleBar | undefined;
  #label: string;
  #unit: string;

  constructor(label: string, unit = "") {
    this.#label = label;
    this.#unit = unit;
  }

  update = (done: number, total: number, note = ""): void => {
    if (!process.stderr.isTTY || total <= 0) return;
    this.#bar ??= this.#start(total);
    this.#bar.setTotal(total);
    this.#bar.update(done, { note });
  };

  stop(): void {
    this.#bar?.stop();
    this.#bar = undefined;
  }

  #start(total: number): SingleBar {
    const started = Date.now();
    const bar = new SingleBar({
      stream: process.stderr,
      hideCursor: true,
      clearOnComplete: true,
      format: (_, { value, total: all, eta }, payload: { note?: string }) => {
        const width = 24;
        const filled = Math.round((width * value) / all);
        const rate = value / ((Date.now() - started) / 1000 || 1);
        const share = `${Math.round((100 * value) / all)} %`.padStart(5);
        const blocks = "=".repeat(filled).padEnd(width);
        return `${this.#label} [${blocks}] ${share}  ${short(rate)}${this.#unit}/s  ${duration(Number(eta))} left  ${payload.note ?? ""}`;
      },
    });
    bar.start(total, 0, { note: "" });
    return bar;
  }
}

/** Three significant digits with k, M, G. */
function short(value: number): string {
  const scale = [1e9, 1e6, 1e3].find((size) => value >= size) ?? 1;
  return `${Number((value / scale).toPrecision(3))}${{ 1e9: "G", 1e6: "M", 1e3: "k", 1: "" }[scale]}`;
}

function duration(seconds: number): string {
  if (!Number.isFinite(seconds)) return "?";
  const [minutes, rest] = [Math.floor(seconds / 60), Math.round(seconds % 60)];
  return minutes >= 60
    ? `${Math.floor(minutes / 60)} h ${minutes % 60} min`
    : `${minutes}:${String(rest).padStart(2, "0")}`;
}
