/** What `code` of an error can be, and what it speaks of. */
const ERROR_CODES = {
  ERR_ABORTED: "the engine was disposed under a call, or `abort` ended it",
  ERR_ADAPTER: "an adapter: it is none, or is not of this model",
  ERR_ADDON: "the native addon: there is none, or it does not load",
  ERR_ARGUMENT: "a value that a program passed",
  ERR_CHECKPOINT: "a checkpoint: damaged, or not of this run",
  ERR_CONFIG: "an option of training, or the file of options",
  ERR_DATA: "a data set or a row of it",
  ERR_DEVICE: "a device: there is none, or it failed",
  ERR_DISPOSED: "a call of an engine that was disposed",
  ERR_FILE: "a file or folder that cannot be read or written",
  ERR_HUB: "the Hugging Face hub",
  ERR_LOCKED: "a run that another process writes",
  ERR_MEMORY: "memory of the machine or of a device",
  ERR_MODEL: "a model that cannot be used",
  ERR_NUMERIC: "a number that is not finite",
  ERR_REPLAY: "a step that was made again and has other bits",
  ERR_REWARD: "a reward that threw, took too long or gave no number",
  ERR_RUN: "a run that cannot begin or go on, or its folder",
  ERR_STATE: "a call at a time at which it is refused",
  ERR_SWEEP: "members of a sweep",
  ERR_USAGE: "flags that do not go together, or one that is missing",
} as const;
export type ErrorCode = keyof typeof ERROR_CODES;

export const isErrorCode = (code: unknown): code is ErrorCode => Object.hasOwn(ERROR_CODES, code as string);

/** Every error that this package throws on purpose: `code` is stable, the message is one or two lines for a person. */
export class TinyLoraError extends Error {
  readonly code: ErrorCode;

  constructor(code: ErrorCode, message: string, options?: { cause?: unknown }) {
    super(message, options);
    this.name = "TinyLoraError";
    this.code = code;
  }
}

const REASONS: Readonly<Record<string, string>> = {
  ENOENT: "no such file",
  EISDIR: "it is a folder",
  EACCES: "no right to read it",
};

/** Why a file cannot be read, for a message. */
export function whyNot(error: unknown): string | undefined {
  const { code } = error as NodeJS.ErrnoException;
  return code === undefined ? undefined : (REASONS[code] ?? code);
}
