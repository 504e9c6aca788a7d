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
import { type Limit, settled } from "./time-limit.js";

/** What Node ends with where a module waits at its top level for what nothing will bring. */
const UNSETTLED = 13;

/** MiB that a module may take. */
const MEMORY = 2048;

/** A call whose answer has not come. */
interface Pending {
  /** Whose it is: those of one are given up together. */
  readonly owner: ModuleReward;
  readonly completion: string;
  readonly example: Example;
  readonly limit: Limit;
  readonly resolve: (value: unknown) => void;
  readonly reject: (error: Error) => void;
  readonly giveUp: () => void;
  timer?: NodeJS.Timeout;
  /** The thread that has been asked. */
  worker?: Worker;
}

/** What comes of the loading in a thread that was ended for the sake of somebody's call. */
class EndedMeanwhile extends Error {}

/** The default export of a module, for one run. */
export class ModuleReward {
  readonly #thread: RewardThread;

  private constructor(thread: RewardThread) {
    this.#thread = thread;
  }

  /** Throws what the import throws, and where the default export is no function. */
  static async load(url: string, limit: Limit): Promise<ModuleReward> {
    const thread = threads.get(url) ?? new RewardThread(url);
    try {
      await thread.ready(limit);
    } catch (error) {
      if (!threads.has(url)) thread.end(); // it may be loading still
      throw error;
    }
    threads.set(url, thread);
    return new ModuleReward(thread);
  }

  /** What the reward gives, of another type than number or null as text. */
  call(completion: string, example: Example, limit: Limit): Promise<unknown> {
    return this.#thread.call(this, completion, example, limit);
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

  /** Its module is loaded; where somebody's call ends it meanwhile, that of the thread after it. */
  async ready(limit: Limit): Promise<void> {
    for (;;) {
      try {
        return await settled(this.#start(), limit);
      } catch (error) {
        if (!(error instanceof EndedMeanwhile)) throw error;
      }
    }
  }

  /** Once, until it ends. */
  #start(): Promise<void> {
    this.#loading ??= this.#load();
    return this.#loading;
  }

  async call(owner: ModuleReward, completion: string, example: Example, limit: Limit): Promise<unknown> {
    await this.ready(limit);
    const { signal } = limit;
    signal?.throwIfAborted();
    return new Promise((resolve, reject) => {
      const id = this.#calls++;
      const giveUp = () => this.#endFor(owner, () => signal!.reason);
      signal?.addEventListener("abort", giveUp);
      this.#pending.set(id, { owner, completion, example, limit, resolve, reject, giveUp });
      if (this.#worker) this.#post(id);
      else this.#askAnother();
    });
  }

  /** Whatever its thread does. */
  end(): void {
    const worker = this.#worker;
    this.#worker = undefined;
    this.#loading = undefined;
    void worker?.terminate(); // last: Deno tells of the end before it returns
  }

  #load(): Promise<void> {
    // The file that tsc has made, also where the sources run as they are.
    const worker = new Worker(join(packageRoot(), "dist", "lib", "reward", "thread.js"), {
      workerData: { url: this.#url },
      resourceLimits: { maxOldGenerationSizeMb: MEMORY },
    });
    this.#worker = worker;
    return new Promise((resolve, reject) => {
      worker.on("message", (report: Report) => {
        if (report.type === "loaded" && report.found === "function") {
          worker.unref(); // it holds the process only while something is asked of it
          resolve();
        } else if (report.type === "loaded" || report.type === "broken") {
          const wrong = new TinyLoraError("ERR_CONFIG", "expected a function as default export");
          reject(report.type === "broken" ? new ThrownThere(report.message) : wrong);
          void worker.terminate();
        } else this.#take(report);
      });
      const ended = (error: Error) => {
        const byItself = this.#worker === worker;
        reject(byItself ? error : new EndedMeanwhile()); // of no effect once it is loaded
        if (byItself) this.#giveUp(error);
      };
      worker.on("error", ended);
      const reason = (code: number) =>
        code === UNSETTLED ? "an await outside of its functions never ends" : `its thread ended with code ${code}`;
      worker.on("exit", (code) => ended(new Error(reason(code))));
    });
  }

  #post(id: number): void {
    const call = this.#pending.get(id)!;
    const { completion, example, reject } = call;
    if (call.worker === this.#worker) return;
    try {
      call.worker = this.#worker!;
      call.worker.ref();
      call.worker.postMessage({ id, completion, example });
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
      const ifStill = () =>
        this.#pending.get(report.id) === call && this.#endFor(call.owner, (one) => one.limit.late());
      call.timer = setTimeout(() => setImmediate(ifStill), 1000 * call.limit.seconds);
      return;
    }
    this.#done(report.id);
    if (report.type === "value") call.resolve(report.value);
    else call.reject(new ThrownThere(report.message));
  }

  #done(id: number): void {
    const call = this.#pending.get(id);
    clearTimeout(call?.timer);
    call?.limit.signal?.removeEventListener("abort", call.giveUp);
    this.#pending.delete(id);
    if (this.#pending.size === 0) this.#worker?.unref();
  }

  /**
   * Ends the thread, where a call takes too long or the signal came: a run has none of its calls answered then; those of
   * others are asked again of a new thread.
   */
  #endFor(owner: ModuleReward, errorOf: (call: Pending) => Error): void {
    this.end();
    for (const [id, call] of this.#pending) {
      clearTimeout(call.timer);
      if (call.owner !== owner) continue;
      this.#done(id);
      call.reject(errorOf(call));
    }
    if (this.#pending.size > 0) this.#askAnother();
  }

  /** Asks a new thread for all that is pending. One that is ended before it has loaded the module leaves that to the next. */
  #askAnother(): void {
    const loading = this.#start();
    loading.then(
      () => {
        if (this.#loading === loading) for (const id of this.#pending.keys()) this.#post(id);
      },
      (error) => {
        if (this.#loading === loading) this.#giveUp(error);
      },
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

/** What a module threw in its thread; the message of what its reward threw holds the name. */
export class ThrownThere extends Error {}
