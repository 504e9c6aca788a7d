// What transformers gives every chat template. Names of strftime_now are English whatever the system's language.
import { strftime } from "./python-text.js";

export const GLOBALS: Readonly<Record<string, unknown>> = {
  true: true,
  false: false,
  none: null,
  True: true,
  False: false,
  None: null,
  range,
  raise_exception: (message: string) => {
    throw new Error(message);
  },
  strftime_now: (format: string) => strftime(new Date(), format),
};

/** Of at most as many numbers as Jinja's sandbox allows. */
function range(first: number, end?: number, step = 1): number[] {
  const [start, stop] = end === undefined ? [0, first] : [first, end];
  const length = Math.max(0, Math.ceil((stop - start) / step));
  if (!(length <= 100_000)) throw new Error(`range: expected at most 100000 numbers, found ${length}`);
  return Array.from({ length }, (_, i) => start + i * step);
}
