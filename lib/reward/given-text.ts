const LONGEST = 1000;

/** What a reward gave in place of a number, for a message: a text in quotes, so that it does not look like one. */
export function givenText(found: unknown): string {
  return textOf(typeof found === "string" ? JSON.stringify(found) : found);
}

/** What a reward gave or threw, for a message: of a length that it may have. It need not be an error, nor have a text. */
export function textOf(found: unknown): string {
  try {
    const text = found instanceof Error ? `${found.name}: ${found.message}` : String(found);
    return text.length > LONGEST ? `${text.slice(0, LONGEST)}...` : text;
  } catch {
    return "something that has no text";
  }
}
