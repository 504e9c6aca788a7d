/** Whether a folder takes a run, or the run in it goes on as what it was; and the folder of that run, opened. */
import { TinyLoraError } from "../error.js";
import { checkFolder } from "../files.js";
import { checkNoRun, type RunChanges, RunFolder } from "../run/folder.js";
import { checkUnlocked } from "../run/lock.js";
import { type RunInfo, readRunInfo } from "../run/run-info.js";

/** What can be told of a run's folder before it is opened, which is after the SVD: ERR_RUN, ERR_FILE, ERR_LOCKED. */
export async function checkRunFolder(path: string, resume: boolean): Promise<void> {
  await checkFolder(path);
  if (!resume) await checkNoRun(path);
  await checkUnlocked(path);
}

/** The same once the model and the problems are known. */
export async function checkRun(
  path: string,
  resume: boolean,
  { problems, ...found }: Pick<RunInfo, "method" | "fingerprint" | "problems">,
): Promise<void> {
  await checkRunFolder(path, resume);
  if (!resume) return;
  const info = await readRunInfo(path);
  checkSameRun(path, info, { ...found, parameters: info.parameters }); // of weights they are counted when attached
  checkSameProblems(path, info, problems);
}

/** Opens the folder of a new run, or of one to go on with; null when nothing is to be written. */
export async function openRun(
  path: string | undefined,
  resume: boolean,
  info: RunInfo,
  changes: RunChanges,
): Promise<RunFolder | null> {
  if (path === undefined) return null;
  if (!resume) return RunFolder.create(path, info);
  const run = await RunFolder.open(path, changes);
  try {
    checkSameRun(path, run.info, info);
  } catch (error) {
    await run.close();
    throw error;
  }
  return run;
}

/** Whether a run goes on as what it was: ERR_RUN. */
export function checkSameRun(
  path: string,
  recorded: RunInfo,
  found: Pick<RunInfo, "method" | "fingerprint" | "parameters">,
): void {
  const { method, fingerprint, parameters } = found;
  if (recorded.method !== method) {
    throw new TinyLoraError("ERR_RUN", `${path}: expected to go on by ${recorded.method}, found ${method}`);
  }
  if (recorded.fingerprint !== fingerprint || recorded.parameters !== parameters) {
    throw new TinyLoraError(
      "ERR_RUN",
      `${path}: expected to train ${recorded.parameters} numbers of the model ${recorded.fingerprint}, found ${parameters} of ${fingerprint}`,
    );
  }
}

/** Whether a run goes on with the problems that it had: ERR_RUN. */
export function checkSameProblems(path: string, recorded: RunInfo, problems: string | null): void {
  if (recorded.problems !== null && recorded.problems !== problems) {
    throw new TinyLoraError(
      "ERR_RUN",
      `${path}: expected the problems that it began with, found others: its data (${recorded.config.data}) was changed since, or is that of a program, which has to give it again`,
    );
  }
}

/** What decides the bits, of an engine's device: all but its threads. */
export function arithmeticOf(device: string): string {
  return device.replace(/,? ?\d+ threads?\)$/, ")").replace(/ \(\)$/, "");
}
