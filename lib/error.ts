/** Every error that this package throws on purpose: `code` is stable, the message is one or two lines for a person. */
export class TinyLoraError extends Error {
  readonly code: string;

  constructor(code: string, message: string, options?: { cause?: unknown }) {
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
