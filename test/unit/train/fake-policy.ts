/**
 * A tiny language model in TypeScript that keeps the engine's promises: log-probabilities of sampling and of the passes
 * are the same bits, every draw depends on (seed, sequence, position) alone, gradients are exact.
 *
 * Logits of the next token c after token p: base[p][c] + sum_i v_i feature_i[p][c].
 */
import { Adapter } from "../../../lib/adapter/adapter.js";
import { linearModules } from "../../../lib/adapter/modules.js";
import type { ForwardBatch, ForwardResult, SampleEvent, SampleRequest } from "../../../lib/native/addon.js";
import { randomUniform } from "../../../lib/philox.js";
import type { TrainablePolicy } from "../../../lib/train/trainable.js";

const letters = [..."0123456789#. ", "<end>"];
const END = letters.length - 1;
const U = 5;

export class FakePolicy implements TrainablePolicy {
  readonly model = { config: { context: 256 } };
  readonly device = "fake (1 thread)";
  readonly fingerprint = "0123456789abcdef";
  cacheTokens = 16384;
  readonly modules = linearModules({
    family: "llama",
    vocab: letters.length,
    hidden: 8,
    intermediate: 16,
    layers: 2,
    heads: 2,
    kvHeads: 2,
    headDim: 4,
    context: 256,
    rmsNormEpsilon: 1e-5,
    tiedEmbeddings: true,
    ropeTheta: 1e4,
  });
  readonly tokenizer = {
    encode: (text: string) => [...text].slice(-4).map((letter) => letter.charCodeAt(0) % END),
    encodeChat: (messages: readonly { content: string }[]) => this.tokenizer.encode(messages.at(-1)!.content),
    decode: (tokens: Int32Array) => [...tokens].map((token) => (token === END ? "" : letters[token])).join(""),
    stopTokens: [END],
  };
  /** Sequences sampled so far; a hook for tests that interfere. */
  onSampled: (count: number) => void = () => {};
  /** Added to every log-probability of a pass: to break the promise on purpose. */
  drift = 0;
  sampled = 0;
  /** Rows of all passes so far. */
  rows = 0;
  submitted = 0;
  #vector = new Float32Array(U);
  #version = 0;
  #open = 0;
  #kept: ForwardBatch | undefined;
  #gradient = new Float64Array(U);

  adapter(): Adapter {
    return Adapter.create(this, { u: U });
  }
  async attach(adapter: Adapter): Promise<void> {
    this.setVector(0, adapter.v);
  }
  memory() {
    return { peakRss: 1 };
  }
  setVector(slot: number, v: Float32Array): number {
    if (slot !== 0 || v.length !== U) throw new Error("setVector: wrong slot or length");
    if (this.#open > 0) throw new Error("setVector: refused while sequences are being sampled");
    this.#vector = Float32Array.from(v);
    return ++this.#version;
  }
  get vector(): Float32Array {
    return this.#vector;
  }

  submit(request: Omit<SampleRequest, "id">, onEvent: (event: SampleEvent) => void): () => void {
    this.submitted++;
    const [v, version] = request.slot < 0 ? [new Float32Array(U), 0] : [this.#vector, this.#version];
    let cancelled = false;
    this.#open += request.numGenerations;
    for (let completion = 0; completion < request.numGenerations; completion++) {
      const sequence = request.firstSequence + completion;
      // Later ones are often finished first.
      setTimeout(
        () => {
          const result = this.#sampleOne(request, sequence, v);
          this.#open--;
          const reason = cancelled ? "aborted" : result.tokens.at(-1) === END ? "stop" : "length";
          onEvent({ type: "finished", id: 0, completion, ...result, reason, version });
          if (!cancelled) this.onSampled(++this.sampled);
        },
        (sequence * 7) % 5,
      );
    }
    return () => {
      cancelled = true;
    };
  }

  #sampleOne(
    { prompt, maxCompletionLength, temperature, seed }: Omit<SampleRequest, "id">,
    sequence: number,
    v: Float32Array,
  ) {
    const tokens: number[] = [];
    const logprobs: number[] = [];
    const entropies: number[] = [];
    let last = prompt.at(-1)!;
    while (tokens.length < maxCompletionLength && last !== END) {
      const logs = logProbabilities(last, v, temperature || 1);
      const draw = randomUniform(seed, "evaluation", sequence, tokens.length);
      let next = 0;
      for (let below = Math.exp(logs[0]!); below < draw && next < END; below += Math.exp(logs[next]!)) next++;
      if (temperature === 0) next = logs.indexOf(Math.max(...logs));
      tokens.push(next);
      logprobs.push(logs[next]!);
      entropies.push(entropyOf(logs));
      last = next;
    }
    return {
      tokens: Int32Array.from(tokens),
      logprobs: Float32Array.from(logprobs),
      entropies: Float32Array.from(entropies),
    };
  }

  async forward(batch: ForwardBatch, signal?: AbortSignal): Promise<ForwardResult> {
    await new Promise((resolve) => setTimeout(resolve));
    signal?.throwIfAborted();
    this.rows += batch.tokens.length;
    const logprobs = new Float32Array(batch.tokens.length).fill(Number.NaN);
    const entropies = new Float32Array(batch.tokens.length).fill(Number.NaN);
    for (const { t, before, slot, temperature } of scored(batch)) {
      const logs = logProbabilities(before, slot < 0 ? new Float32Array(U) : this.#vector, temperature);
      logprobs[t] = logs[batch.tokens[t]!]! + this.drift;
      entropies[t] = entropyOf(logs);
    }
    if (batch.keep) this.#kept = batch;
    return { logprobs, entropies, sampled: false };
  }

  async backward(dLogprobs: Float32Array, signal?: AbortSignal): Promise<void> {
    await this.backwardParts(dLogprobs, new Int32Array(this.#kept?.parents.length ?? 0), 0, signal);
  }

  async backwardParts(
    dLogprobs: Float32Array,
    parts: Int32Array,
    _slot: number,
    signal?: AbortSignal,
  ): Promise<Float64Array> {
    await new Promise((resolve) => setTimeout(resolve));
    signal?.throwIfAborted();
    const batch = this.#kept;
    if (!batch) throw new Error("backward: expected a kept forward");
    this.#kept = undefined;
    const byPart = new Float64Array(U * (1 + (parts.at(-1) ?? 0)));
    for (const { t, before, temperature, sequence } of scored(batch)) {
      const logs = logProbabilities(before, this.#vector, temperature);
      for (let i = 0; i < U; i++) {
        const expected = logs.reduce((sum, log, c) => sum + Math.exp(log) * feature(i, before, c), 0);
        const added = (dLogprobs[t]! * (feature(i, before, batch.tokens[t]!) - expected)) / temperature;
        this.#gradient[i]! += added;
        byPart[U * parts[sequence]! + i]! += added;
      }
    }
    return byPart;
  }
  gradient(): Float64Array {
    return this.#gradient.slice();
  }
  zeroGradients(): void {
    this.#gradient.fill(0);
  }
}

function entropyOf(logs: number[]): number {
  return -logs.reduce((sum, log) => sum + Math.exp(log) * log, 0);
}

/** The scored tokens of a batch and the token before each. */
function* scored({ tokens, starts, parents, slots, scored, temperatures }: ForwardBatch) {
  for (let s = 0; s < parents.length; s++) {
    if (!scored[s]) continue;
    for (let t = starts[s]!; t < starts[s + 1]!; t++) {
      const parent = parents[s]!;
      const before = t > starts[s]! ? tokens[t - 1]! : parent < 0 ? undefined : tokens[starts[parent + 1]! - 1]!;
      if (before !== undefined) yield { t, before, slot: slots[s]!, temperature: temperatures[s]!, sequence: s };
    }
  }
}

const size = letters.length;
const base = Float64Array.from({ length: size * size }, (_, at) => 2 * randomUniform(3, "init", at));
const features = Float64Array.from({ length: U * size * size }, (_, at) => 2 * randomUniform(7, "init", at) - 1);

function feature(i: number, before: number, next: number): number {
  return features[(i * size + before) * size + next]!;
}

function logProbabilities(before: number, v: Float32Array, temperature: number): number[] {
  const logits = letters.map((_, next) => {
    const update = v.reduce((sum, value, i) => sum + value * feature(i, before, next), 0);
    return (base[before * size + next]! + update) / temperature;
  });
  const top = Math.max(...logits);
  const normal = top + Math.log(logits.reduce((sum, logit) => sum + Math.exp(logit - top), 0));
  return logits.map((logit) => logit - normal);
}
