import { createContext, Script } from "node:vm";

const box = createContext({ run: (): unknown => undefined });
const script = new Script("run()");

/** What `run` gives; it is ended with an error where it takes more than so many milliseconds, loops included. */
export function withinTime<T>(milliseconds: number, run: () => T): T {
  box.run = run;
  return script.runInContext(box, { timeout: milliseconds }) as T;
}
