import { createHash } from "node:crypto";
import type { Method } from "../config/method.js";
import type { TrainConfig } from "../config/schema.js";
import type { Settings } from "./grid.js";

/** One run of a sweep. */
export interface Member {
  /** Of its folder: the same for the same run, whatever else the sweep holds. */
  readonly name: string;
  readonly method: Method;
  /** What the grid gave it. */
  readonly settings: Settings;
  readonly config: TrainConfig;
}

export function makeMember(method: Method, settings: Settings, config: TrainConfig): Member {
  return { name: memberName(method, settings, config), method, settings, config };
}

/** For a person: `u=13 learning_rate=0.02 seed=1`. */
export function memberLabel(settings: Settings, seed: number): string {
  return [...Object.entries(settings), ["seed", seed]].map(([key, value]) => `${key}=${show(value)}`).join(" ");
}

/** The longest readable part of a folder's name. */
const READABLE = 80;

/** What can be read, the innermost settings of the grid first, and a hash of everything that the run's result depends on. */
function memberName(method: Method, settings: Settings, config: TrainConfig): string {
  const { threads: _, gradient_checkpointing: __, keep_activations: ___, ...counting } = config;
  const { eval_question_column, eval_answer_column, ...others } = counting;
  // Options that came later count where they are given, so that sweeps begun before them go on.
  const later = Object.entries({ eval_question_column, eval_answer_column }).filter(([, value]) => value !== null);
  const decisive = { ...others, ...Object.fromEntries(later) };
  const hash = createHash("sha256")
    .update(JSON.stringify([method, decisive]))
    .digest("hex")
    .slice(0, 8);
  const parts = Object.entries(settings)
    .map(([key, value]) => `${key}=${show(value)}`.replaceAll(/[^\w.=,-]+/g, "_"))
    .reverse();
  let readable = `seed=${config.seed}`;
  for (const part of parts) {
    if (readable.length + 1 + part.length > READABLE) break;
    readable += `_${part}`;
  }
  return `${readable}-${hash}`;
}

function show(value: unknown): string {
  return typeof value === "string" ? value : JSON.stringify(value);
}
