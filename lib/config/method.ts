import { TinyLoraError } from "../error.js";
import type { TrainConfig } from "./schema.js";

/** How a run learns: from rewards, or from worked answers. */
export const METHODS = ["grpo", "sft"] as const;
export type Method = (typeof METHODS)[number];

/** Throws ERR_CONFIG where the options ask for what the method does not have. */
export function checkMethod(method: Method, { optim, estimator }: TrainConfig): void {
  if (method !== "sft") return;
  const refuse = (key: string, expected: string, found: string) => {
    throw new TinyLoraError("ERR_CONFIG", `${key}: expected ${expected}, since the method is sft, found ${found}`);
  };
  if (optim === "natural") refuse("optim", "adamw or sgd", optim);
  if (estimator !== "policy_gradient") refuse("estimator", "policy_gradient", estimator);
}
