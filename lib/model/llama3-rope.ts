import type { ModelConfig } from "../native/model-source.js";

type Llama3 = Extract<NonNullable<ModelConfig["ropeScaling"]>, { type: "llama3" }>;

/** What Llama 3 divides a frequency by: `factor` for long waves, 1 for short ones, something between for the rest. */
export function llama3Divisor(scaling: Llama3, inverseFrequency: number): number {
  const { factor, lowFreqFactor, highFreqFactor, originalContext } = scaling;
  const waves = originalContext / (2 * Math.PI * inverseFrequency);
  if (waves > highFreqFactor) return 1;
  if (waves < lowFreqFactor) return factor;
  const smooth = (waves - lowFreqFactor) / (highFreqFactor - lowFreqFactor);
  return 1 / ((1 - smooth) / factor + smooth);
}
