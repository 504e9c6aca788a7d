import { adapterSlot } from "./adapter-slots.js";
import { LEAST_TEMPERATURE, MOST_TEMPERATURE } from "./config/schema.js";
import type { Engine } from "./engine.js";
import { TinyLoraError } from "./error.js";
import { inTurn } from "./in-turn.js";
import type { ForwardBatch, ForwardResult } from "./native/addon.js";
import { checkOptionNames } from "./option-names.js";
import { pack } from "./pack.js";
import { type Prompt, promptTokens } from "./prompt.js";
import { show } from "./show.js";

export interface LogprobOptions {
  /** Log-probabilities are those of logits / temperature; 1 by default. */
  readonly temperature?: number | undefined;
  /** Slot of the attached adapter, "base" for the model without one. The first adapter where one is attached. */
  readonly adapter?: number | "base" | undefined;
  /** Ends the waiting for other passes at once, and the running pass at the next layer: the call rejects with its reason. */
  readonly signal?: AbortSignal | undefined;
}

export interface TokenLogprobs {
  readonly tokens: Int32Array;
  /** [tokens], natural logarithms: of each token after those before it; NaN for the first. */
  readonly logprobs: Float32Array;
  /** [tokens], in nats: of the distribution that each token was drawn from; NaN for the first. */
  readonly entropies: Float32Array;
}

/** Rows of one pass: more saves little time and costs memory. The results do not depend on it. */
const ROWS = 2048;

/** `forward` makes all passes one after another, with nothing of others between them. */
export async function scoreSequences(
  engine: Engine,
  sequences: readonly Prompt[],
  options: LogprobOptions,
  forward: (make: () => Promise<readonly ForwardBatch[]>, signal?: AbortSignal) => Promise<ForwardResult[]>,
): Promise<TokenLogprobs[]> {
  checkOptionNames("logprobs", options, { temperature: true, adapter: true, signal: true });
  const { temperature = 1, adapter, signal } = options;
  signal?.throwIfAborted();
  checkTemperature(temperature);
  if (!Array.isArray(sequences)) {
    throw new TinyLoraError("ERR_ARGUMENT", `logprobs: expected a list of sequences, found ${show(sequences)}`);
  }
  const slot = adapterSlot(engine, adapter);
  const passes: { readonly parts: readonly Int32Array[]; readonly starts: Int32Array }[] = [];
  const make = async () => {
    const tokenized = await inTurn(sequences, (sequence: Prompt, i) => sequenceTokens(engine, sequence, i), { signal });
    return pack(tokenized, ({ length }) => length, ROWS).map((parts) => {
      const starts = startsOf(parts);
      passes.push({ parts, starts });
      return {
        tokens: concatenate(parts, starts.at(-1)!),
        starts,
        parents: new Int32Array(parts.length).fill(-1),
        slots: new Int32Array(parts.length).fill(slot),
        scored: new Uint8Array(parts.length).fill(1),
        temperatures: new Float32Array(parts.length).fill(temperature),
        keep: false,
      };
    });
  };
  const results = await forward(make, signal);
  return passes.flatMap(({ parts, starts }, pass) => {
    const { logprobs, entropies } = results[pass]!;
    return parts.map((tokens, i) => {
      const [start, end] = [starts[i]!, starts[i + 1]!];
      return { tokens, logprobs: logprobs.slice(start, end), entropies: entropies.slice(start, end) };
    });
  });
}

function checkTemperature(temperature: number): void {
  const isNumber = typeof temperature === "number";
  if (isNumber && temperature >= LEAST_TEMPERATURE && temperature <= MOST_TEMPERATURE) return;
  throw new TinyLoraError(
    "ERR_ARGUMENT",
    `temperature: expected ${LEAST_TEMPERATURE} to ${MOST_TEMPERATURE}, found ${show(temperature)}`,
  );
}

function sequenceTokens(engine: Engine, sequence: Prompt, place: number): Int32Array {
  const tokens = promptTokens(engine, sequence, place);
  const { context, vocab } = engine.model.config;
  const wrong = (expected: string, found: number) =>
    new TinyLoraError("ERR_ARGUMENT", `prompt ${place}: expected ${expected}, found ${found}`);
  if (tokens.length < 1 || tokens.length > context) {
    throw wrong(`1 to ${context} tokens (the model's context)`, tokens.length);
  }
  const none = tokens.find((id) => id < 0 || id >= vocab);
  if (none !== undefined) throw wrong(`ids from 0 to ${vocab - 1}`, none);
  return tokens;
}

function startsOf(batch: readonly Int32Array[]): Int32Array {
  const starts = new Int32Array(batch.length + 1);
  batch.forEach((sequence, i) => {
    starts[i + 1] = starts[i]! + sequence.length;
  });
  return starts;
}

function concatenate(batch: readonly Int32Array[], total: number): Int32Array {
  const tokens = new Int32Array(total);
  let at = 0;
  for (const sequence of batch) {
    tokens.set(sequence, at);
    at += sequence.length;
  }
  return tokens;
}
