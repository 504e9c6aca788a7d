import { adapterSlot } from "./adapter-slots.js";
import { camelCase, ofPrompt } from "./caller-names.js";
import type { Engine } from "./engine.js";
import { TinyLoraError } from "./error.js";
import { inTurn } from "./in-turn.js";
import type { SampleEvent, SampleRequest } from "./native/addon.js";
import { onAbort } from "./native/on-abort.js";
import { own } from "./native/session.js";
import { checkOptionNames } from "./option-names.js";
import { isPrompt, type Prompt, promptTokens } from "./prompt.js";
import { show } from "./show.js";

export interface GenerateOptions {
  /** Completions of each prompt, 1 by default. */
  readonly numGenerations?: number | undefined;
  /** Tokens of a completion at most, 256 by default; it also ends where the model's context does. */
  readonly maxCompletionLength?: number | undefined;
  /** 1 by default; 0 is greedy. */
  readonly temperature?: number | undefined;
  /** Sample from the likeliest tokens that reach this mass, above 0 to 1; 1 by default: all. */
  readonly topP?: number | undefined;
  /** Sample from this many likeliest tokens; 0 by default: all. */
  readonly topK?: number | undefined;
  /** Leave out tokens less likely than this share of the likeliest one, 0 to 1; 0 by default: none. */
  readonly minP?: number | undefined;
  /**
   * 0 by default. With the place of prompt and completion in the call it fixes every draw: the same call gives the same
   * completions.
   */
  readonly seed?: number | undefined;
  /** Texts that end a completion, besides the model's own stop tokens. */
  readonly stop?: readonly string[] | undefined;
  /** In place of the model's own. */
  readonly stopTokens?: readonly number[] | undefined;
  /** Slot of the attached adapter, "base" for the model without one. The first adapter where one is attached. */
  readonly adapter?: number | "base" | undefined;
  /** Ends what is unfinished: the call rejects with its reason. */
  readonly signal?: AbortSignal | undefined;
}

/** `GenerateOptions` of a single completion. */
export type StreamOptions = Omit<GenerateOptions, "numGenerations">;

const STREAM_OPTION_NAMES = {
  maxCompletionLength: true,
  temperature: true,
  topP: true,
  topK: true,
  minP: true,
  seed: true,
  stop: true,
  stopTokens: true,
  adapter: true,
  signal: true,
} satisfies Record<keyof StreamOptions, true>;
const OPTION_NAMES = { numGenerations: true, ...STREAM_OPTION_NAMES } satisfies Record<keyof GenerateOptions, true>;

export interface Completion {
  /** Place of the prompt in the call. */
  readonly prompt: number;
  /** Place among the completions of its prompt. */
  readonly index: number;
  /** Without special tokens; a stop text is kept. */
  readonly text: string;
  /** The stop token, where there was one, is the last. */
  readonly tokens: Int32Array;
  /**
   * [tokens], natural logarithms: of each token under the distribution that the temperature gives (1 where it is 0), over
   * the whole vocabulary also where topP, topK or minP narrow the draw.
   */
  readonly logprobs: Float32Array;
  /** Ended by a stop token or text, or cut at maxCompletionLength or the model's context. */
  readonly reason: "stop" | "length";
  /** Of what sampled this: of the slot's v, or of the model's weights, 0 until they are trained. */
  readonly version: number;
}

export interface StreamPiece {
  /** Whole characters that became final since the last piece; at times none. */
  readonly text: string;
  readonly tokens: Int32Array;
  readonly logprobs: Float32Array;
  /** Of the last piece: how the completion ended. */
  readonly reason?: Completion["reason"];
}

/**
 * Completions on their way: sampling begins when it is awaited or iterated. `await` gives all, prompt by prompt;
 * `for await` gives each as it is finished, and a loop that is left ends the others.
 */
export class Generation implements AsyncIterable<Completion>, PromiseLike<Completion[]> {
  #engine: Engine;
  #prompts: Prompt | readonly Prompt[];
  #options: GenerateOptions;
  #all: Promise<Completion[]> | undefined;

  constructor(engine: Engine, prompts: Prompt | readonly Prompt[], options: GenerateOptions) {
    this.#engine = engine;
    this.#prompts = prompts;
    this.#options = options;
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Completion> {
    checkOptionNames("generate", this.#options, OPTION_NAMES);
    const { signal } = this.#options;
    const numGenerations = this.#options.numGenerations ?? 1;
    const prompts = isPrompt(this.#prompts) ? [this.#prompts] : this.#prompts;
    const toRequest = (prompt: Prompt, i: number) =>
      sampleRequest(this.#engine, prompt, i, this.#options, i * numGenerations, false);
    const requests = await inTurn(prompts, toRequest, { signal });
    for await (const [prompt, event] of sampleEvents(this.#engine, requests, signal)) {
      if (event.type !== "finished") continue;
      const { completion: index, tokens, logprobs, reason, version } = event;
      yield { prompt, index, text: this.#engine.tokenizer.decode(tokens), tokens, logprobs, reason, version };
    }
  }

  async #collect(): Promise<Completion[]> {
    const completions: Completion[] = [];
    for await (const completion of this) completions.push(completion);
    return completions.sort((x, y) => x.prompt - y.prompt || x.index - y.index);
  }

  /** Sampled once, however often it is awaited. */
  #promise(): Promise<Completion[]> {
    this.#all ??= this.#collect();
    return this.#all;
  }

  // biome-ignore lint/suspicious/noThenProperty: awaiting a generation is its common use
  then<Fulfilled = Completion[], Rejected = never>(
    fulfilled?: ((completions: Completion[]) => Fulfilled | PromiseLike<Fulfilled>) | null,
    rejected?: ((reason: unknown) => Rejected | PromiseLike<Rejected>) | null,
  ): Promise<Fulfilled | Rejected> {
    return this.#promise().then(fulfilled, rejected);
  }

  catch<Rejected = never>(
    rejected?: ((reason: unknown) => Rejected | PromiseLike<Rejected>) | null,
  ): Promise<Completion[] | Rejected> {
    return this.#promise().catch(rejected);
  }

  finally(ended?: (() => void) | null): Promise<Completion[]> {
    return this.#promise().finally(ended);
  }
}

export async function* streamCompletion(
  engine: Engine,
  prompt: Prompt,
  options: StreamOptions,
): AsyncGenerator<StreamPiece> {
  checkOptionNames("stream", options, STREAM_OPTION_NAMES);
  const request = sampleRequest(engine, prompt, 0, options, 0, true);
  const decoder = engine.tokenizer.streamDecoder();
  for await (const [, event] of sampleEvents(engine, [request], options.signal)) {
    yield event.type === "tokens"
      ? { text: decoder.push(event.tokens), tokens: event.tokens, logprobs: event.logprobs }
      : { text: decoder.end(), tokens: new Int32Array(0), logprobs: new Float32Array(0), reason: event.reason };
  }
}

/** The texts of an `option`: a text alone would be taken for its letters, and an empty one ends nothing. */
function textsOf(option: string, value: readonly string[]): string[] {
  if (Array.isArray(value) && value.every((text) => typeof text === "string" && text !== "")) return [...value];
  throw new TinyLoraError(
    "ERR_ARGUMENT",
    `${option}: expected a list of texts that are not empty, found ${show(value)}`,
  );
}

/** The ids of an `option`: what is none would be rounded, or wrapped, to another one. */
function idsOf(option: string, value: ArrayLike<number>): Int32Array {
  const ids = Int32Array.from(value);
  if (typeof value !== "string" && ids.every((id, i) => id === value[i])) return ids;
  throw new TinyLoraError("ERR_ARGUMENT", `${option}: expected a list of token ids, found ${show(value)}`);
}

type Request = Omit<SampleRequest, "id">;

function sampleRequest(
  engine: Engine,
  prompt: Prompt,
  place: number,
  options: GenerateOptions,
  firstSequence: number,
  stream: boolean,
): Request {
  return {
    prompt: promptTokens(engine, prompt, place),
    slot: adapterSlot(engine, options.adapter),
    numGenerations: options.numGenerations ?? 1,
    maxCompletionLength: options.maxCompletionLength ?? 256,
    temperature: options.temperature ?? 1,
    topP: options.topP ?? 1,
    topK: options.topK ?? 0,
    minP: options.minP ?? 0,
    seed: options.seed ?? 0,
    firstSequence,
    stopTokens: idsOf("stopTokens", options.stopTokens ?? engine.tokenizer.stopTokens),
    stopStrings: textsOf("stop", options.stop ?? []),
    stream,
  };
}

type Finished = Extract<SampleEvent, { type: "finished" }>;
type LiveEvent =
  | Extract<SampleEvent, { type: "tokens" }>
  | (Omit<Finished, "reason"> & { readonly reason: Exclude<Finished["reason"], "aborted"> });

/** Events of all requests in the order of sampling. Leaving the loop, or the signal, cancels what is unfinished. */
async function* sampleEvents(
  engine: Engine,
  requests: readonly Request[],
  signal: AbortSignal | undefined,
): AsyncGenerator<[request: number, event: LiveEvent]> {
  signal?.throwIfAborted();
  const queue: [number, SampleEvent][] = [];
  let wake = () => {};
  const cancels: (() => void)[] = [];
  const ended = onAbort(signal, () => wake());
  try {
    for (const [i, request] of requests.entries()) {
      const onEvent = (event: SampleEvent) => {
        queue.push([i, event]);
        wake();
      };
      try {
        cancels.push(engine.submit(request, onEvent));
      } catch (error) {
        throw ofPrompt(i, error, camelCase);
      }
    }
    let open = requests.reduce((sum, { numGenerations }) => sum + numGenerations, 0);
    while (open > 0) {
      signal?.throwIfAborted();
      const next = queue.shift();
      if (!next) {
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
        continue;
      }
      const [i, event] = next;
      if (event.type === "failed") throw ofPrompt(i, own(event.error), camelCase);
      if (event.type === "tokens") {
        yield [i, event];
        continue;
      }
      const { reason } = event;
      if (reason === "aborted") throw new TinyLoraError("ERR_ABORTED", "sampling: the engine was disposed");
      open--;
      yield [i, { ...event, reason }];
    }
  } finally {
    ended();
    for (const cancel of cancels) cancel();
  }
}
