/** The name of the small model in this package, and of the problems that belong to it. */
export const EMBEDDED = "embedded";

/** Defaults where `model` is the embedded one, which can do nothing but its own problems and has a context of 256 tokens. */
export const EMBEDDED_DEFAULTS = { data: EMBEDDED, shots: 0, max_completion_length: 80 };
