/** Completions from the local engine: everything is queued at once, and each is handed on the moment it is finished. */
import { setMaxListeners } from "node:events";
import { ofPrompt } from "../caller-names.js";
import { type PromptStyle, stopStrings } from "../data/prompt.js";
import { TinyLoraError } from "../error.js";
import type { SampleEvent, SampleRequest } from "../native/addon.js";
import { onAbort } from "../native/on-abort.js";
import { own } from "../native/session.js";
import type { Policy } from "../policy.js";

export interface Sampled {
  /** Which of the requests, and which of its completions. */
  readonly request: number;
  readonly completion: number;
  /** The stop token is the last one, when there was one. */
  readonly tokens: Int32Array;
  readonly logprobs: Float32Array;
  readonly entropies: Float32Array;
  /** Cut at the length limit. */
  readonly truncated: boolean;
  /** Of the vector that sampled this. */
  readonly version: number;
}

/**
 * Samples all requests. `onSampled` may take its time (rewards): sampling goes on meanwhile, and the promise waits for
 * it. After an error or the signal nothing is being sampled any more when the promise rejects, and the signal that
 * `onSampled` was given, by which it is to end, is aborted.
 */
export async function sampleAll(
  policy: Policy,
  requests: readonly Omit<SampleRequest, "id">[],
  onSampled: (sampled: Sampled, stopped: AbortSignal) => void | Promise<void>,
  signal?: AbortSignal,
): Promise<void> {
  const cancels: (() => void)[] = [];
  const work: Promise<void>[] = [];
  const stopper = new AbortController();
  setMaxListeners(0, stopper.signal); // one for each reward that is under way
  let failure: { error: unknown } | undefined;
  const stop = (error: unknown) => {
    if (failure) return; // each completion that was cancelled says so
    failure = { error };
    for (const cancel of cancels) cancel();
    stopper.abort(error);
  };
  const ended = onAbort(signal, () => stop(signal?.reason));
  try {
    signal?.throwIfAborted();
    const finished = requests.map((request, index) => {
      const handle = (sampled: Sampled) => {
        if (failure) return;
        work.push(
          Promise.resolve(sampled)
            .then((one) => onSampled(one, stopper.signal))
            .catch(stop),
        );
      };
      return failure ? undefined : submit(policy, request, index, handle, stop, cancels);
    });
    await Promise.all(finished);
    await Promise.all(work);
  } finally {
    ended();
  }
  if (failure) throw failure.error;
}

/** Resolves when none of the request's completions is open any more. */
function submit(
  policy: Policy,
  request: Omit<SampleRequest, "id">,
  index: number,
  onSampled: (sampled: Sampled) => void,
  stop: (error: unknown) => void,
  cancels: (() => void)[],
): Promise<void> {
  return new Promise((resolve) => {
    let open = request.numGenerations;
    const onEvent = (event: SampleEvent) => {
      if (event.type === "tokens") return;
      if (event.type === "failed") {
        stop(ofPrompt(index, own(event.error)));
        resolve();
        return;
      }
      const { completion, tokens, logprobs, entropies, reason, version } = event;
      if (reason === "aborted") stop(new TinyLoraError("ERR_ABORTED", "sampling: the engine ended the request"));
      else {
        const truncated = reason === "length";
        onSampled({ request: index, completion, tokens, logprobs, entropies, truncated, version });
      }
      if (--open === 0) resolve();
    };
    try {
      cancels.push(policy.submit(request, onEvent));
    } catch (error) {
      stop(ofPrompt(index, error));
      resolve();
    }
  });
}

interface SamplingOptions extends PromptStyle {
  readonly max_completion_length: number;
  readonly temperature: number;
  readonly top_p: number;
  readonly top_k: number;
  readonly min_p: number;
  readonly stop: readonly string[];
}

/** What all requests have in common that these options describe. */
export function samplingOf({ tokenizer }: Pick<Policy, "tokenizer">, options: SamplingOptions) {
  return {
    maxCompletionLength: options.max_completion_length,
    temperature: options.temperature,
    topP: options.top_p,
    topK: options.top_k,
    minP: options.min_p,
    stopTokens: Int32Array.from(tokenizer.stopTokens),
    stopStrings: [...stopStrings(options), ...options.stop],
    stream: false,
  };
}

/** The ids of a prompt: of a text as it is, of a chat by the model's template. */
export function tokenizePrompt({ tokenizer }: Pick<Policy, "tokenizer">, prompt: TokenizablePrompt): Int32Array {
  return Int32Array.from(typeof prompt === "string" ? tokenizer.encode(prompt) : tokenizer.encodeChat(prompt));
}

type TokenizablePrompt = string | Parameters<Policy["tokenizer"]["encodeChat"]>[0];

/** The same, checked to leave room for a completion. */
export function encodePrompt(
  policy: Pick<Policy, "tokenizer" | "model">,
  prompt: TokenizablePrompt,
  id: string,
  maxCompletionLength: number,
): Int32Array {
  const tokens = tokenizePrompt(policy, prompt);
  const { context } = policy.model.config;
  if (tokens.length + maxCompletionLength > context) {
    const found = `the prompt's ${tokens.length} tokens`;
    throw new TinyLoraError(
      "ERR_DATA",
      tokens.length >= context
        ? `${id}: ${found} fill the model's context of ${context}: give fewer shots, or leave the problem out (skip_bad)`
        : `${id}: ${found} and ${maxCompletionLength} of the completion exceed the model's context of ${context}: lower max_completion_length, or give fewer shots`,
    );
  }
  return tokens;
}
