import type { NamedReward } from "../reward/reward.js";
import type { StepResult } from "./step.js";

/** After this many steps a reward that never varied, or completions that mostly were cut, are worth a warning. */
const PATIENCE = 10;

/** Of a step's rows: with fewer, keeping them may cost as much as it saves. */
const ENOUGH_KEPT = 0.9;

/** Looks for what makes training pointless or wrong, and warns of each thing once. */
export class Watch {
  readonly #warn: (message: string) => void;
  readonly #rewards: { name: string; value: number | null | undefined; steps: number }[];
  readonly #warned = new Set<string>();
  #cutSteps = 0;

  constructor(rewards: readonly NamedReward[], warn: (message: string) => void) {
    this.#warn = warn;
    this.#rewards = rewards.map(({ name }) => ({ name, value: undefined, steps: 0 }));
  }

  see({ sequences, metrics, kept }: StepResult): void {
    this.#seeRewards(sequences);
    const difference = metrics["sampling/max_abs_dlogp"];
    if (difference !== undefined && difference !== 0) {
      this.#once(
        "dlogp",
        `log-probabilities of sampling and training differ by up to ${difference}: expected 0 with this engine`,
      );
    }
    if (kept !== undefined && kept < ENOUGH_KEPT) {
      const share = `${Math.round(100 * kept)} % of a step's rows`;
      this.#once("kept", `keep_activations: ${share} were still there for the backward pass: raise cache_tokens`);
    }
    const cut = metrics["completions/clipped_ratio"]!;
    this.#cutSteps = cut > 0.5 ? this.#cutSteps + 1 : 0;
    if (this.#cutSteps >= PATIENCE) {
      this.#once(
        "cut",
        `more than half of the completions were cut in each of ${PATIENCE} steps: raise max_completion_length`,
      );
    }
  }

  #seeRewards(sequences: StepResult["sequences"]): void {
    for (const [k, seen] of this.#rewards.entries()) {
      if (seen.steps < 0) continue;
      const values = new Set(sequences.map(({ completion }) => completion.rewards[k]));
      if (seen.steps > 0) values.add(seen.value);
      seen.value = [...values][0];
      seen.steps = values.size > 1 ? -1 : seen.steps + 1; // -1: it varies
      if (seen.steps >= PATIENCE) {
        const given = `was ${seen.value} for every completion of ${PATIENCE} steps`;
        this.#once(`reward ${seen.name}`, `reward "${seen.name}" ${given}: nothing can be learned from it`);
      }
    }
  }

  #once(key: string, message: string): void {
    if (!this.#warned.has(key)) this.#warn(message);
    this.#warned.add(key);
  }
}
