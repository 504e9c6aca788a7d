/**
 * The loop that every trainer shares: step, metrics, evaluation, checkpoint, and what is left behind after Ctrl-C or an
 * error.
 */
import type { TrainConfig } from "../config/schema.js";
import type { Example } from "../data/example.js";
import { TinyLoraError } from "../error.js";
import { askedAs, evaluate } from "../eval/evaluate.js";
import type { RunFolder } from "../run/folder.js";
import type { ProgressListener } from "./progress.js";
import type { Measured, Metrics } from "./reported.js";
import type { TrainState } from "./state.js";
import type { OnSaved, Trainable, TrainablePolicy, Trained } from "./trainable.js";

export interface StepOutcome {
  readonly state: TrainState;
  readonly metrics: Metrics;
  readonly measured: Measured;
  /** Lines of completions/step-N.jsonl. */
  readonly lines: readonly object[];
}

export interface TrainCallbacks {
  /**
   * Gives the step up at once, saves the last finished one, and lets `train` return. Before the run's first step, while
   * data is fetched or the SVD is made, `train` rejects with its reason.
   */
  readonly signal?: AbortSignal | undefined;
  /**
   * After every step, and once before the first (step 0) when it is evaluated. The engine is what the step made of it, and
   * the next step waits for the promise.
   */
  readonly onStep?: ((report: StepReport) => void | Promise<void>) | undefined;
  /** Within a step. What this or another callback throws ends the run as an error does. */
  readonly onProgress?: ProgressListener | undefined;
  readonly onWarning?: ((message: string) => void) | undefined;
}

export interface StepReport {
  readonly step: number;
  readonly steps: number;
  /** What metrics.jsonl holds: the same in a repeated or resumed run. */
  readonly metrics: Metrics;
  /** Seconds, rates and memory. */
  readonly measured: Measured;
}

export interface TrainResult<T extends Trained = Trained> {
  readonly stopped: "finished" | "aborted";
  readonly step: number;
  /** What was trained: an adapter, or the model's weights. */
  readonly adapter: T;
}

/** Makes the next state. */
export type Step = (state: TrainState, signal?: AbortSignal) => Promise<StepOutcome>;

interface RunOptions {
  readonly policy: TrainablePolicy;
  readonly trainable: Trainable;
  readonly config: TrainConfig;
  /** What each evaluation takes. */
  readonly heldOut: readonly Example[];
  readonly step: Step;
}

/** Runs to max_steps, or until the signal. */
export async function runSteps(
  options: RunOptions,
  run: RunFolder | null,
  callbacks: TrainCallbacks,
): Promise<TrainResult> {
  const { trainable, config } = options;
  const { signal, onStep, onProgress = () => {}, onWarning = () => {} } = callbacks;
  const save = async (state: TrainState, onSaved?: OnSaved) => run?.saveCheckpoint(state, trainable, onSaved);
  const onSaved: OnSaved = (done, total) => onProgress({ phase: "saving", done, total });
  const report = async (step: number, metrics: Metrics, measured: Measured) => {
    await run?.appendMetrics({ step, ...metrics, measured });
    await onStep?.({ step, steps: config.max_steps, metrics, measured });
  };
  const first: TrainState = { step: 0, tokens: 0, optimizer: trainable.firstState(), lastGradient: null };

  let state = (await run?.restore(onWarning, trainable)) ?? null;
  try {
    if (state === null) {
      const held = await evaluateStep(options, first, onProgress, signal);
      if (held) await report(0, held.metrics, held.measured);
      await run?.appendState(first);
      await save(first, onSaved);
      state = first;
    }
    while (state.step < config.max_steps) {
      signal?.throwIfAborted();
      const { state: next, metrics, measured, lines } = await options.step(state, signal);
      const held = await evaluateStep(options, next, onProgress, signal);
      if (lines.length > 0) await run?.writeCompletions(next.step, lines);
      await run?.appendState(next);
      trainable.use(next.optimizer); // onStep may sample from it
      await report(next.step, { ...metrics, ...held?.metrics }, { ...measured, ...held?.measured });
      state = next;
      if (state.step % config.save_steps === 0 || state.step === config.max_steps) await save(state, onSaved);
    }
    trainable.use(state.optimizer);
    return { stopped: "finished", step: state.step, adapter: trainable.result(state.optimizer) };
  } catch (error) {
    // The step in progress is given up: policy and run folder go back to the last finished one.
    const last = state ?? first;
    const attempt = async (undo: () => unknown) => {
      try {
        await undo();
        return true;
      } catch (second) {
        if (!(ofDevice(error) && ofDevice(second))) onWarning(`after an error: ${(second as Error).message}`);
        return false;
      }
    };
    const back = await attempt(() => trainable.use(last.optimizer));
    const saved = state;
    if (saved && (back || trainable.inState)) await attempt(() => save(saved));
    if (!signal?.aborted) throw error;
    return { stopped: "aborted", step: last.step, adapter: trainable.result(last.optimizer) };
  }
}

/** After one, the next call of the device fails by the same cause, which has been told. */
function ofDevice(error: unknown): boolean {
  return error instanceof TinyLoraError && error.code === "ERR_DEVICE";
}

/** Greedy accuracy on held-out problems, in the steps that eval_steps names. */
async function evaluateStep(
  { policy, trainable, config, heldOut }: RunOptions,
  state: TrainState,
  onProgress: ProgressListener,
  signal: AbortSignal | undefined,
): Promise<{ metrics: Metrics; measured: Measured } | null> {
  const due = config.eval_steps > 0 && (state.step % config.eval_steps === 0 || state.step === config.max_steps);
  if (!due || heldOut.length === 0) return null;
  trainable.use(state.optimizer);
  const result = await evaluate(policy, heldOut, {
    ...askedAs(config),
    slot: trainable.slot,
    signal,
    onProgress: (done, total) => onProgress({ phase: "evaluation", done, total }),
  });
  return {
    metrics: {
      "eval/strict": result.strict,
      "eval/lenient": result.lenient,
      "eval/format": result.format,
      "eval/mean_length": result.meanLength,
      "eval/clipped_ratio": result.truncated,
      "eval/problems": result.problems,
    },
    measured: { "seconds/evaluation": result.seconds },
  };
}
