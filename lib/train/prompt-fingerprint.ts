import { createHash } from "node:crypto";
import type { TrainConfig } from "../config/schema.js";
import { toPrompt } from "../data/prompt.js";
import type { Policy } from "../policy.js";
import type { RunInfo } from "../run/run-info.js";
import { tokenizePrompt } from "../sample/sample.js";

/** Of a run's prompts: 16 hex digits of how the model reads one. */
export function promptFingerprint(policy: Policy, config: TrainConfig): string {
  const tokens = tokenizePrompt(policy, toPrompt("1 + 1 = ?", config));
  return createHash("sha256").update(tokens).digest("hex").slice(0, 16);
}

/**
 * What to say where a run's prompts are no longer those that it began with, else null. A chat template that writes the date
 * makes others every day, and so does one that was edited; the weights' fingerprint tells of neither.
 */
export function otherPrompts({ prompt, config }: RunInfo, policy: Policy): string | null {
  if (prompt === null || prompt === promptFingerprint(policy, config)) return null;
  return "its prompts are others than those that it began with, since the model's chat template writes the date or was edited";
}
