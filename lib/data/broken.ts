/** Rows and problems that are broken: the first one is an error, or all of them are left out. */
import { TinyLoraError } from "../error.js";

/** Takes what is wrong with a row, or throws it. */
export type OnBroken = (error: TinyLoraError) => void;

/** As `skip_bad` says: adds to `skipped` what is wrong with one that is left out, or stops. */
export function leavingOut(skip_bad: boolean | undefined, skipped: string[]): OnBroken {
  return (error) => {
    if (!skip_bad) throw error;
    skipped.push(error.message);
  };
}

/** What `make` makes, or nothing where it throws an error that `onBroken` takes. */
export function guarded<T>(onBroken: OnBroken, make: () => T): T[] {
  try {
    return [make()];
  } catch (error) {
    if (!(error instanceof TinyLoraError)) throw error;
    onBroken(error);
    return [];
  }
}

/** Whether `check` throws nothing; false where `onBroken` takes what it throws. */
export function passes(onBroken: OnBroken, check: () => void): boolean {
  return guarded(onBroken, check).length > 0;
}
