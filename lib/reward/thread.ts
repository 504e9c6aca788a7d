/** The thread that a module's reward is called in: see module-reward.ts, which starts it. */
import { parentPort, workerData } from "node:worker_threads";
import type { Example } from "../data/example.js";
import { givenText, textOf } from "./given-text.js";

interface Call {
  readonly id: number;
  readonly completion: string;
  readonly example: Example;
}

/** What it tells: that the module is loaded, that a call has begun, and what came of it. */
export type Report =
  | { readonly type: "loaded"; readonly found: string }
  | { readonly type: "broken"; readonly message: string }
  | { readonly type: "begun"; readonly id: number }
  /** A number or null as it is, anything else as text. */
  | { readonly type: "value"; readonly id: number; readonly value: number | null | string }
  | { readonly type: "threw"; readonly id: number; readonly message: string };

// Standard output is for results, which a module's own lines would spoil.
process.stdout.write = process.stderr.write.bind(process.stderr);

const tell = (report: Report) => parentPort!.postMessage(report);

try {
  const loaded = (await import((workerData as { url: string }).url)) as { default?: unknown };
  parentPort!.on("message", (call: Call) => answer(loaded.default as (...given: unknown[]) => unknown, call));
  tell({ type: "loaded", found: typeof loaded.default });
} catch (cause) {
  tell({ type: "broken", message: cause instanceof Error ? cause.message : textOf(cause) });
}

async function answer(reward: (...given: unknown[]) => unknown, { id, completion, example }: Call): Promise<void> {
  tell({ type: "begun", id });
  try {
    const value = await reward(completion, example);
    tell({ type: "value", id, value: typeof value === "number" || value === null ? value : givenText(value) });
  } catch (cause) {
    tell({ type: "threw", id, message: textOf(cause) });
  }
}
