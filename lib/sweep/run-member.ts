import { existsSync } from "node:fs";
import { join } from "node:path";
import { findModel } from "../find-model.js";
import { checkpointSteps } from "../run/checkpoint.js";
import { makeTrained } from "../train/make-trained.js";
import type { TrainCallbacks } from "../train/run.js";
import { SftTrainer } from "../train/sft-trainer.js";
import type { Trained } from "../train/trainable.js";
import { GrpoTrainer } from "../train/trainer.js";
import type { KeptEngine } from "./kept-engine.js";
import type { Member } from "./member.js";

/** Its last step is in a checkpoint, which is written after all else that the step leaves. */
export async function isFinished(run: string, { config }: Member): Promise<boolean> {
  const [newest = -1] = await checkpointSteps(join(run, "checkpoints"));
  return newest >= config.max_steps;
}

/** Starts the member's run, or goes on with it. */
export async function runMember(
  member: Member,
  run: string,
  engines: KeptEngine,
  callbacks: TrainCallbacks,
): Promise<"finished" | "aborted"> {
  const config = { ...member.config, model: findModel(member.config.model) };
  try {
    const engine = await engines.get(config, callbacks.signal);
    const adapter = makeTrained(engine, config);
    const Trainer = member.method === "grpo" ? GrpoTrainer<Trained> : SftTrainer<Trained>;
    const resume = existsSync(join(run, "config.json"));
    const { stopped } = await new Trainer({ engine, adapter, config, run, resume }).train(callbacks);
    if (config.adapter === "full" || config.adapter === "lora") engines.drop();
    return stopped;
  } catch (error) {
    engines.drop();
    throw error;
  }
}
