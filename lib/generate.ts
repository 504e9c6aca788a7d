import type { Engine } from "./engine.js";
import { TinyLoraError } from "./error.js";
import { isObject, shown } from "./model/fields.js";
import type { Message } from "./model/open.js";
import type { SampleEvent, SampleRequest } from "./native/addon.js";
import { own } from "./native/session.js";

/** Plain text, a conversation (the model's chat template makes text of it), or token ids as they are. */
export type Prompt = string | readonly Message[] | Int32Array;

export interface GenerateOptions {
  /** Completions of each prompt. */
  readonly count?: number | undefined;
  readonly maxNewTokens?: number | undefined;
  /** 0 is greedy. */
  readonly temperature?: number | undefined;
  readonly topP?: number | undefined;
  /** 0: no limit. */
  readonly topK?: number | undefined;
  readonly minP?: number | undefined;
  /** With the place of prompt and completion in the call it fixes every draw. */
  readonly seed?: number | undefined;
  /** Texts that end a completion, besides the model's own stop tokens. */
  readonly stop?: readonly string[] | undefined;
  /** In place of the model's own. */
  readonly stopTokens?: readonly number[] | undefined;
  /** Slot of the attached adapter, "base" for the model without one. The first adapter where one is attached. */
  readonly adapter?: number | "base" | undefined;
  readonly signal?: AbortSignal | undefined;
}

export interface Completion {
  /** Place of the prompt in the call. */
  readonly prompt: number;
  /** Place among the completions of its prompt. */
  readonly index: number;
  /** Without special tokens; a stop text is kept. */
  readonly text: string;
  readonly tokens: Int32Array;
  /** Of each token under the distribution that the temperature gives. */
  readonly logprobs: Float32Array;
  readonly reason: "stop" | "length";
  /** Version of the adapter's v that sampled this, 0 for the base model. */
  readonly version: number;
}

export interface StreamPiece {
  /** Whole characters that became final since the last piece. */
  readonly text: string;
  readonly tokens: Int32Array;
  readonly logprobs: Float32Array;
}

/** Completions on their way. `await` gives all, prompt by prompt; `for await` gives each as it is finished. */
export class Generation implements AsyncIterable<Completion>, PromiseLike<Completion[]> {
  #engine: Engine;
  #prompts: readonly Prompt[];
  #options: GenerateOptions;

  constructor(engine: Engine, prompts: Prompt | readonly Prompt[], options: GenerateOptions) {
    this.#engine = engine;
    this.#prompts = isPrompt(prompts) ? [prompts] : prompts;
    this.#options = options;
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Completion> {
    const count = this.#options.count ?? 1;
    const requests = this.#prompts.map((prompt, i) =>
      sampleRequest(this.#engine, prompt, this.#options, i * count, false),
    );
    let open = requests.length * count;
    for await (const [prompt, event] of sampleEvents(this.#engine, requests, this.#options.signal)) {
      if (event.type !== "finished") continue;
      const reason = reasonOf(event);
      const { completion: index, tokens, logprobs, version } = event;
      yield { prompt, index, text: this.#engine.tokenizer.decode(tokens), tokens, logprobs, reason, version };
      if (--open === 0) return;
    }
  }

  async #all(): Promise<Completion[]> {
    const completions: Completion[] = [];
    for await (const completion of this) completions.push(completion);
    return completions.sort((x, y) => x.prompt - y.prompt || x.index - y.index);
  }

  // biome-ignore lint/suspicious/noThenProperty: awaiting a generation is its common use
  then<Fulfilled = Completion[], Rejected = never>(
    fulfilled?: ((completions: Completion[]) => Fulfilled | PromiseLike<Fulfilled>) | null,
    rejected?: ((reason: unknown) => Rejected | PromiseLike<Rejected>) | null,
  ): Promise<Fulfilled | Rejected> {
    return this.#all().then(fulfilled, rejected);
  }
}

export async function* streamCompletion(
  engine: Engine,
  prompt: Prompt,
  options: GenerateOptions,
): AsyncGenerator<StreamPiece> {
  const request = sampleRequest(engine, prompt, { ...options, count: 1 }, 0, true);
  const decoder = engine.tokenizer.streamDecoder();
  for await (const [, event] of sampleEvents(engine, [request], options.signal)) {
    if (event.type === "tokens") {
      yield { text: decoder.push(event.tokens), tokens: event.tokens, logprobs: event.logprobs };
      continue;
    }
    reasonOf(event);
    const rest = decoder.end();
    if (rest) yield { text: rest, tokens: new Int32Array(0), logprobs: new Float32Array(0) };
    return;
  }
}

/** Why a completion ended by itself. */
function reasonOf({ reason }: Extract<SampleEvent, { type: "finished" }>): Completion["reason"] {
  if (reason !== "aborted") return reason;
  throw new TinyLoraError("ERR_ABORTED", "generate: the engine was disposed or the request cancelled");
}

/** The ids of a prompt. */
export function promptTokens(engine: Engine, prompt: Prompt): Int32Array {
  if (prompt instanceof Int32Array) return prompt;
  if (typeof prompt !== "string" && !(Array.isArray(prompt) && prompt.every(isMessage))) {
    throw new TinyLoraError(
      "ERR_ARGUMENT",
      `prompt: expected a text, messages with role and content, or token ids (Int32Array), found ${shown(prompt)}`,
    );
  }
  return typeof prompt === "string" ? engine.tokenizer.encode(prompt) : engine.tokenizer.encodeChat(prompt);
}

/** The slot of an `adapter` option; -1 is the base model. */
export function adapterSlot(engine: Engine, adapter: number | "base" | undefined): number {
  if (adapter === "base" || (adapter === undefined && engine.slots === 0)) return -1;
  const slot = adapter ?? 0;
  if (!Number.isInteger(slot) || slot < 0 || slot >= engine.slots) {
    throw new TinyLoraError("ERR_ARGUMENT", `adapter: expected "base" or a slot below ${engine.slots}, found ${slot}`);
  }
  return slot;
}

function isMessage(value: unknown): boolean {
  return isObject(value) && typeof value.role === "string" && typeof value.content === "string";
}

/** The texts of an `option`: a text alone would be taken for its letters. */
function textsOf(option: string, value: readonly string[]): string[] {
  if (Array.isArray(value) && value.every((text) => typeof text === "string")) return [...value];
  throw new TinyLoraError("ERR_ARGUMENT", `${option}: expected a list of texts, found ${shown(value)}`);
}

function isPrompt(prompts: Prompt | readonly Prompt[]): prompts is Prompt {
  if (typeof prompts === "string" || prompts instanceof Int32Array) return true;
  if (!Array.isArray(prompts)) {
    throw new TinyLoraError("ERR_ARGUMENT", `prompts: expected a prompt or a list of them, found ${shown(prompts)}`);
  }
  return isObject(prompts[0]) && "role" in prompts[0];
}

type Request = Omit<SampleRequest, "id">;

function sampleRequest(
  engine: Engine,
  prompt: Prompt,
  options: GenerateOptions,
  firstSequence: number,
  stream: boolean,
): Request {
  return {
    prompt: promptTokens(engine, prompt),
    slot: adapterSlot(engine, options.adapter),
    count: options.count ?? 1,
    maxNewTokens: options.maxNewTokens ?? 256,
    temperature: options.temperature ?? 1,
    topP: options.topP ?? 1,
    topK: options.topK ?? 0,
    minP: options.minP ?? 0,
    seed: options.seed ?? 0,
    firstSequence,
    stopTokens: Int32Array.from(options.stopTokens ?? engine.tokenizer.stopTokens),
    stopStrings: textsOf("stop", options.stop ?? []),
    stream,
  };
}

type LiveEvent = Exclude<SampleEvent, { type: "failed" }>;

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
  const onAbort = () => wake();
  signal?.addEventListener("abort", onAbort);
  try {
    for (const [i, request] of requests.entries()) {
      const onEvent = (event: SampleEvent) => {
        queue.push([i, event]);
        wake();
      };
      cancels.push(engine.submit(request, onEvent));
    }
    for (let open = requests.length; open > 0; ) {
      signal?.throwIfAborted();
      const next = queue.shift();
      if (!next) {
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
        continue;
      }
      const [i, event] = next;
      if (event.type === "failed") throw own(event.error);
      yield [i, event];
    }
  } finally {
    signal?.removeEventListener("abort", onAbort);
    for (const cancel of cancels) cancel();
  }
}
