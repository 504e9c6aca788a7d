import type { TrainConfig } from "../config/schema.js";

type ScheduleOptions = Pick<TrainConfig, "learning_rate" | "lr_scheduler_type" | "warmup_steps" | "max_steps">;

/**
 * The learning rate of a step, from 1 to max_steps: a linear rise that ends in step warmup_steps, then constant or a
 * cosine to 0.
 */
export function learningRate(step: number, options: ScheduleOptions): number {
  const { learning_rate, lr_scheduler_type, warmup_steps, max_steps } = options;
  if (step <= warmup_steps) return (learning_rate * step) / warmup_steps;
  if (lr_scheduler_type === "constant") return learning_rate;
  const progress = (step - 1 - warmup_steps) / (max_steps - warmup_steps);
  return learning_rate * 0.5 * (1 + Math.cos(Math.PI * progress));
}
