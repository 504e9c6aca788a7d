/** Every error that this package throws on purpose: `code` is stable, the message is one or two lines for a person. */
export class TinyLoraError extends Error {
  readonly code: string;

  constructor(code: string, message: string, options?: { cause?: unknown }) {
    super(message, options);
    this.name = "TinyLoraError";
    this.code = code;
  }
}
