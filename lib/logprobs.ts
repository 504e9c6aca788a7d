import type { Engine } from "./engine.js";
import { TinyLoraError } from "./error.js";
import { adapterSlot, type Prompt, promptTokens } from "./generate.js";

export interface LogprobOptions {
  /** Log-probabilities are those of logits / temperature. */
  readonly temperature?: number | undefined;
  /** Slot of the attached adapter, "base" for the model without one. */
  readonly adapter?: number | "base" | undefined;
  readonly signal?: AbortSignal | undefined;
}

export interface TokenLogprobs {
  readonly tokens: Int32Array;
  /** Of each token after those before it; NaN for the first. */
  readonly logprobs: Float32Array;
  /** In nats, of the distribution that each token was drawn from; NaN for the first. */
  readonly entropies: Float32Array;
}

/** Rows of one pass: more saves little time and costs memory. The results do not depend on it. */
const ROWS = 2048;

export async function scoreSequences(
  engine: Engine,
  sequences: readonly Prompt[],
  options: LogprobOptions,
): Promise<TokenLogprobs[]> {
  const slot = adapterSlot(engine, options.adapter);
  const temperature = options.temperature ?? 1;
  const results: TokenLogprobs[] = [];
  const tokenized = sequences.map((sequence, place) => {
    const tokens = promptTokens(engine, sequence);
    if (tokens.length > 0) return tokens;
    throw new TinyLoraError("ERR_ARGUMENT", `sequences: [${place}]: expected at least one token, found none`);
  });
  for (const batch of batches(tokenized)) {
    const starts = startsOf(batch);
    const { logprobs, entropies } = await engine.forward(
      {
        tokens: concatenate(batch, starts.at(-1)!),
        starts,
        parents: new Int32Array(batch.length).fill(-1),
        slots: new Int32Array(batch.length).fill(slot),
        scored: new Uint8Array(batch.length).fill(1),
        temperatures: new Float32Array(batch.length).fill(temperature),
        keep: false,
      },
      options.signal,
    );
    for (const [i, tokens] of batch.entries()) {
      const [start, end] = [starts[i]!, starts[i + 1]!];
      results.push({ tokens, logprobs: logprobs.slice(start, end), entropies: entropies.slice(start, end) });
    }
  }
  return results;
}

/** Consecutive sequences of up to ROWS tokens together; a longer one goes alone. */
function* batches(sequences: readonly Int32Array[]): Generator<Int32Array[]> {
  let batch: Int32Array[] = [];
  let rows = 0;
  for (const sequence of sequences) {
    if (batch.length > 0 && rows + sequence.length > ROWS) {
      yield batch;
      batch = [];
      rows = 0;
    }
    batch.push(sequence);
    rows += sequence.length;
  }
  if (batch.length > 0) yield batch;
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
