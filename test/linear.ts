import { withinTime } from "../lib/within-time.js";

/**
 * What work gives whose size is such that it takes a second at most where its time is linear in it, and hours where it is
 * not: a minute tells them apart on every machine.
 */
export function linear<T>(work: () => T): T {
  return withinTime(
    60_000,
    work,
    () => new Error("not done within a minute: expected work that is linear in its size"),
  );
}
