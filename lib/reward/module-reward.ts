/**
 * Rewards from modules. They are called in a thread of their own, one a module, since nothing else ends a loop that begins
 * after an `await`: the thread is ended with it.
 */
import { join } from "node:path";
import { Worker } from "node:worker_threads";
import type { Example } from "../data/example.js";
import { TinyLoraError } from "../error.js";
import { packageRoot } from "../version.js";
import type { Report } from "./thread.js";

/** A call whose answer has not come. */
interface Pending {
  /** Whose it is: those of one are given up together. */
  readonly owner: ModuleReward;
  readonly completion: string;
  readonly example: Example;
  readonly seconds: number;
  readonly late: () => Error;
  readonly resolve: (value: unknown) => void;
  readonly reject: (error: Error) => void;
  timer?: NodeJS.Timeout;
}

/** The default export of a module, for one run. */
export class ModuleReward {
  readonly #thread: RewardThread;

  private constructor(thread: RewardThread) {
    this.#thread = thread;
  }

  /** Throws what the import throws, and where the default export is no function. */
  static async load(url: string): Promise<ModuleReward> {
    const thread = threads.get(url) ?? new RewardThread(url);
    await thread.start();
    threads.set(url, thread);
    return new ModuleReward(thread);
  }

  /** What the reward gives, of another type than number or null as text; `late()` where it takes more than `seconds`. */
  call(completion: string, example: Example, seconds: number, late: () => Error): Promise<unknown> {
    return this.#thread.call(this, completion, example, seconds, late);
  }
}

const threads = new Map<string, RewardThread>();

class RewardThread {
  readonly #url: string;
  readonly #pending = new Map<number, Pending>();
  #worker: Worker | undefined;
  #loading: Promise<void> | undefined;
  #calls = 0;

  constructor(url: string) {
    this.#url = url;
  }

  /** Once, until it ends. */
  start(): Promise<void> {
    this.#loading ??= this.#load();
    return this.#loading;
  }

  async call(
    owner: ModuleReward,
    completion: string,
    example: Example,
    seconds: number,
    late: () => Error,
  ): Promise<unknown> {
    await this.start();
    return new Promise((resolve, reject) => {
      const id = this.#calls++;
      this.#pending.set(id, { owner, completion, example, seconds, late, resolve, reject });
      this.#post(id);
    });
  }

  #load(): Promise<void> {
    // The file that tsc has made, also where the sources run as they are.
    const worker = new Worker(join(packageRoot(), "dist", "lib", "reward", "thread.js"), {
      workerData: { url: this.#url },
    });
    this.#worker = worker;
    return new Promise((resolve, reject) => {
      worker.on("message", (report: Report) => {
        if (report.type === "loaded" && report.found === "function") {
          worker.unref(); // it holds the process only while something is asked of it
          resolve();
        } else if (report.type === "loaded" || report.type === "broken") {
          const wrong = new TinyLoraError("ERR_CONFIG", "expected a function as default export");
          reject(report.type === "broken" ? new Error(report.message) : wrong);
          void worker.terminate();
        } else this.#take(report);
      });
      const ended = (error: Error) => {
        reject(error); // of no effect once it is loaded
        if (this.#worker === worker) this.#giveUp(error);
      };
      worker.on("error", ended);
      worker.on("exit", (code) => ended(new Error(`its thread ended with code ${code}`)));
    });
  }

  #post(id: number): void {
    const { completion, example, reject } = this.#pending.get(id)!;
    try {
      this.#worker!.ref();
      this.#worker!.postMessage({ id, completion, example });
    } catch (error) {
      this.#done(id);
      reject(error as Error); // a row that cannot be copied
    }
  }

  #take(report: Exclude<Report, { type: "loaded" | "broken" }>): void {
    const call = this.#pending.get(report.id);
    if (!call) return;
    if (report.type === "begun") {
      // What has come meanwhile is taken first.
      const late = () => setImmediate(() => this.#pending.get(report.id) === call && this.#late(call));
      call.timer = setTimeout(late, 1000 * call.seconds);
      return;
    }
    this.#done(report.id);
    if (report.type === "value") call.resolve(report.value);
    else call.reject(new ThrownThere(report.message));
  }

  #done(id: number): void {
    clearTimeout(this.#pending.get(id)?.timer);
    this.#pending.delete(id);
    if (this.#pending.size === 0) this.#worker?.unref();
  }

  /** The run that waited too long has none of its calls answered; those of others are asked again of a new thread. */
  #late({ owner }: Pending): void {
    const worker = this.#worker!;
    this.#worker = undefined;
    this.#loading = undefined;
    void worker.terminate();
    for (const [id, call] of this.#pending) {
      clearTimeout(call.timer);
      if (call.owner !== owner) continue;
      this.#done(id);
      call.reject(call.late());
    }
    if (this.#pending.size === 0) return;
    this.start().then(
      () => {
        for (const id of this.#pending.keys()) this.#post(id);
      },
      (error) => this.#giveUp(error),
    );
  }

  #giveUp(error: Error): void {
    this.#worker = undefined;
    this.#loading = undefined;
    for (const [id, call] of this.#pending) {
      this.#done(id);
      call.reject(error);
    }
  }
}

/** What a reward threw in its thread: its message holds the name. */
export class ThrownThere extends Error {}
