import { TinyLoraError } from "../error.js";

/**
 * What native code refuses of a request, told of the prompt at this `place` of a call, or of an option: it names requests
 * by ids, and options as arguments of its own, and the caller has seen neither.
 */
export function ofPrompt(place: number, error: unknown, nameOf = (option: string) => option): unknown {
  if (!(error instanceof TinyLoraError)) return error;
  const message = error.message
    .replace(/^request \d+: prompt(: )?/, (_, alone) => `prompt ${place}: ${alone ? "" : "prompt"}`)
    .replace(/^request \d+: (\w+)/, (_, option) => nameOf(option))
    .replace(/^(Expected .*) for request\.(?=\w+ but received )/, "$1 for ");
  if (message === error.message) return error;
  return new TinyLoraError(error.code, message, { cause: error });
}
