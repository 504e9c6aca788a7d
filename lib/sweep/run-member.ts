import { existsSync } from "node:fs";
import { join } from "node:path";
import type { Adapter } from "../adapter/adapter.js";
import { usedBy } from "../config/method.js";
import { findModel } from "../find-model.js";
import type { OnProgress } from "../native/session.js";
import { stepsMade } from "../run/folder.js";
import { GrpoTrainer } from "../train/grpo-trainer.js";
import { makeTrained } from "../train/make-trained.js";
import { Population, type PopulationMember } from "../train/population.js";
import type { TrainCallbacks } from "../train/run.js";
import { SftTrainer } from "../train/sft-trainer.js";
import type { TrainablePolicy, Trained } from "../train/trainable.js";
import type { KeptEngine } from "./kept-engine.js";
import type { Member } from "./member.js";

/** Starts a member's run in this folder, or goes on with it. */
export type RunMember = (run: string, callbacks: TrainCallbacks) => Promise<"finished" | "aborted">;

export async function isFinished(run: string, { config }: Member): Promise<boolean> {
  return (await stepsMade(run)) >= config.max_steps;
}

/**
 * What runs each of these members, which can be trained side by side, or is the only one. `onLoading` hears how far their
 * model is loaded.
 */
export async function membersOf(
  group: readonly Member[],
  engines: KeptEngine,
  onLoading: OnProgress,
  signal: AbortSignal | undefined,
): Promise<RunMember[]> {
  const engine = await engines.get(group[0]!.config, onLoading, signal);
  const trained = await Promise.all(group.map(({ config }) => makeTrained(engine, config)));
  if (group.length === 1) return [(run, callbacks) => train(group[0]!, engine, trained[0]!, run, callbacks)];
  const { members } = new Population(engine, trained as Adapter[], { signal });
  return members.map((policy, i) => (run, callbacks) => trainBeside(group[i]!, policy, run, callbacks));
}

async function trainBeside(member: Member, policy: PopulationMember, run: string, callbacks: TrainCallbacks) {
  try {
    return await train(member, policy, policy.adapter, run, callbacks);
  } finally {
    policy.leave();
  }
}

async function train(
  member: Member,
  engine: TrainablePolicy,
  adapter: Trained,
  run: string,
  callbacks: TrainCallbacks,
): Promise<"finished" | "aborted"> {
  const config = usedBy(member.method, { ...member.config, model: findModel(member.config.model) });
  const Trainer = member.method === "grpo" ? GrpoTrainer<Trained> : SftTrainer<Trained>;
  const resume = existsSync(join(run, "config.json"));
  const { stopped } = await new Trainer({ engine, adapter, config, run, resume }).train(callbacks);
  return stopped;
}
