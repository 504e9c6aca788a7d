/**
 * Native code names requests by ids, and options as arguments of its own. What it refuses is told here in the names that
 * the caller gave.
 */
import { TinyLoraError } from "./error.js";

/** What is refused of a request: of the prompt at this `place` of a call, or of an option, whose name `nameOf` makes. */
export function ofPrompt(place: number, error: unknown, nameOf = (option: string) => option): unknown {
  return retold(error, (message) =>
    message
      .replace(/^request \d+: prompt(: )?/, (_, alone) => `prompt ${place}: ${alone ? "" : "prompt"}`)
      .replace(/^request \d+: (\w+)/, (_, option) => nameOf(option))
      .replace(/^(Expected .*) for request\.(?=\w+ but received )/, "$1 for ")
      .replace(/(?<= of the cache \()cache_tokens(?=\))/, nameOf),
  );
}

/** What is refused of the options of `Engine.load`. */
export function ofLoading(error: unknown): unknown {
  return retold(error, (message) =>
    message.replace(/^(Expected .*) for spec\.(\w+)(?= but received )/, (_, expected, option) => {
      return `${expected} for ${option === "path" ? "cpuPath" : option}`;
    }),
  );
}

/** Of the numbers of an update, what options of training are called there. */
const UPDATE_OPTIONS: Readonly<Record<string, string>> = {
  rate: "learning_rate",
  decay: "weight_decay",
  beta1: "adam_beta1",
  beta2: "adam_beta2",
  epsilon: "adam_epsilon",
};

/** What is refused of the numbers of an update, which is made in float: the options may be beyond it. */
export function ofUpdate(error: unknown): unknown {
  return retold(error, (message) =>
    message.replace(/^update: (\w+)(?=: expected )/, (whole, name) => UPDATE_OPTIONS[name] ?? whole),
  );
}

/** `top_p` is `topP` in the library's own options. */
export function camelCase(option: string): string {
  return option.replace(/_(\w)/g, (_, letter) => letter.toUpperCase());
}

function retold(error: unknown, tell: (message: string) => string): unknown {
  if (!(error instanceof TinyLoraError)) return error;
  const message = tell(error.message);
  return message === error.message ? error : new TinyLoraError(error.code, message, { cause: error });
}
