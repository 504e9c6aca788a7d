import { createContext, Script } from "node:vm";

const box = createContext({ run: (): unknown => undefined });
const script = new Script("run()");

/** What `run` gives. It is ended with an error, in the midst of a loop too, where it takes more than so many milliseconds. */
export function withinTime<T>(milliseconds: number, run: () => T): T {
  box.run = run;
  try {
    return script.runInContext(box, { timeout: milliseconds }) as T;
  } catch (error) {
    const ended = (error as NodeJS.ErrnoException | null)?.code === "ERR_SCRIPT_EXECUTION_TIMEOUT";
    throw ended ? new Error(`not done after ${milliseconds} ms`) : error;
  }
}
