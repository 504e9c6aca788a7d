import type {
  AdapterBasis,
  Addon,
  EngineSpec,
  NativeEngine,
  SampleEvent,
  SampleRequest,
} from "../../lib/native/addon.js";
import { generator } from "../generator.js";

export type Finished = Extract<SampleEvent, { type: "finished" }>;

export const quiet = () => {};

export async function withEngine<T>(
  addon: Addon,
  spec: EngineSpec,
  use: (engine: NativeEngine) => Promise<T>,
): Promise<T> {
  const engine = await addon.loadEngine(spec, quiet);
  try {
    return await use(engine);
  } finally {
    engine.dispose();
  }
}

export function request(changes: Partial<SampleRequest> = {}): SampleRequest {
  return {
    id: 1,
    prompt: Int32Array.from([10, 20, 30]),
    slot: -1,
    numGenerations: 1,
    maxCompletionLength: 8,
    temperature: 1,
    topP: 1,
    topK: 0,
    minP: 0,
    seed: 5,
    firstSequence: 0,
    stopTokens: new Int32Array(0),
    stopStrings: [],
    stream: false,
    ...changes,
  };
}

export function prompt(length: number, seed = 1): Int32Array {
  const random = generator(seed);
  return Int32Array.from({ length }, () => Math.floor(random() * 256));
}

/** The completions of a request in their order. */
export function sample(
  engine: NativeEngine,
  what: SampleRequest,
  onEvent: (event: SampleEvent) => void = quiet,
): Promise<Finished[]> {
  return new Promise((resolve, reject) => {
    const finished: Finished[] = [];
    engine.submit(what, (event) => {
      onEvent(event);
      if (event.type === "failed") reject(event.error);
      if (event.type !== "finished") return;
      finished.push(event);
      if (finished.length === what.numGenerations) resolve(finished.sort((a, b) => a.completion - b.completion));
    });
  });
}

export const tokensOf = (completions: Finished[]) =>
  completions.map(({ tokens, logprobs, entropies }) => ({ tokens, logprobs, entropies }));
export const scoresOf = (completions: Finished[]) =>
  completions.map(({ logprobs, entropies }) => ({ logprobs, entropies }));

/** Rank 2, two numbers, one group, on every module. */
export function randomBasis(engine: NativeEngine, slots: number): AdapterBasis {
  const random = generator(3);
  const numbers = (count: number) => Float32Array.from({ length: count }, () => random() - 0.5);
  return {
    rank: 2,
    u: 2,
    groups: 1,
    slots,
    modules: engine.modules.map(({ index, in: width, out }) => ({
      module: index,
      group: 0,
      a: numbers(2 * width),
      b: numbers(out * 2),
      p: numbers(2 * 4),
    })),
  };
}

/** Scores of the completions as the training pass gives them: one parent, its completions behind it. */
export async function score(
  engine: NativeEngine,
  from: SampleRequest,
  completions: Finished[],
): Promise<ReturnType<typeof scoresOf>> {
  const sequences = [from.prompt, ...completions.map(({ tokens }) => tokens)];
  const starts = [0];
  for (const sequence of sequences) starts.push(starts.at(-1)! + sequence.length);
  const result = await engine.forward({
    tokens: Int32Array.from(sequences.flatMap((sequence) => [...sequence])),
    starts: Int32Array.from(starts),
    parents: Int32Array.from(sequences, (_, i) => (i === 0 ? -1 : 0)),
    slots: new Int32Array(sequences.length).fill(from.slot),
    scored: Uint8Array.from(sequences, (_, i) => (i === 0 ? 0 : 1)),
    temperatures: new Float32Array(sequences.length).fill(from.temperature === 0 ? 1 : from.temperature),
    keep: false,
  });
  const part = (values: Float32Array, i: number) => values.slice(starts[i + 1]!, starts[i + 2]!);
  return completions.map((_, i) => ({
    logprobs: part(result.logprobs, i),
    entropies: part(result.entropies, i),
  }));
}
