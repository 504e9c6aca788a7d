import { basename, extname } from "node:path";
import type { Command } from "commander";
import {
  checkSources,
  DEFAULT_POPULATION,
  findModel,
  type Member,
  type MemberReport,
  type Progress as Part,
  planSweep,
  runSweep,
  type StepReport,
  type SweepPlan,
  type SweepResults,
  TinyLoraError,
  type TrainConfig,
} from "../../lib/index.js";
import { parseCount, parseName } from "../arguments.js";
import { SAMPLER_KEYS } from "../engine.js";
import { interruptible } from "../exit.js";
import { addFields, givenFields } from "../flags.js";
import { counted, quoted, table } from "../io.js";
import { Progress } from "../progress.js";

const AFTER = `
Examples:
  $ npx tinylora-native sweep sweep.yaml                                      results in runs/sweep
  $ npx tinylora-native sweep sweep.yaml --dry-run                            check the file, list the members
  $ npx tinylora-native sweep sweep.yaml --model models/Qwen2.5-7B-Instruct   over the model of its base

The file has base, grid, seeds, best_of and metric; docs/sweeps.md explains them. Members that train v of the same model at
the same r, u and tying run side by side, each with the bits that it has alone. After Ctrl-C the same command goes on.`;

interface Flags {
  folder?: string;
  population?: number;
  dryRun?: boolean;
}

export function sweepCommand(program: Command): void {
  const command = program
    .command("sweep <file>")
    .description("train every member of a grid of options, and compare them")
    .option("--folder <folder>", "folder of the sweep (default: runs/NAME, for NAME.yaml)", parseName)
    .option(
      "--population <n>",
      `how many members are trained side by side at most (default: ${DEFAULT_POPULATION})`,
      parseCount,
    )
    .option("--dry-run", "check the file and what it names, list its members, and run nothing")
    .addHelpText("after", AFTER);
  addFields(command, [...SAMPLER_KEYS, "data", "eval_data"]);
  command.action((file: string, flags: Flags) => sweep(command, file, flags));
}

async function sweep(command: Command, file: string, flags: Flags): Promise<void> {
  const changes = givenFields(command);
  if (flags.dryRun) {
    const plan = await planSweep(file, changes);
    await checkSources(plan);
    for (const { name } of plan.members) console.log(name);
    console.error(planText(plan));
    return;
  }
  const folder = flags.folder ?? `runs/${basename(file, extname(file))}`;
  const progress = new SweepProgress();
  const interrupted = () => console.error("\ninterrupted: saving the last finished step (again to stop at once)");
  await interruptible(async (signal) => {
    const { stopped, results } = await runSweep({
      sweep: file,
      folder,
      changes,
      population: flags.population,
      signal,
      onPlan: (plan) => console.error(`${planText(plan)}: ${folder}`),
      onMember: (report) => {
        progress.member(report);
        tell(report);
      },
      onPopulation: (members, atOnce) => console.log(`${members.length} members side by side, ${atOnce} at a time`),
      onStep: (member, report) => progress.step(member, report),
      onProgress: (_, part) => progress.part(part),
      onWarning: (message) => console.error(`warning: ${message}`),
    }).finally(() => progress.stop());
    if (stopped === "aborted") {
      // The same flags: a model that comes over the base is part of what a member is.
      console.error(`stopped: go on with \`npx tinylora-native ${process.argv.slice(2).map(quoted).join(" ")}\``);
      signal.throwIfAborted();
    }
    console.log(`\n${overview(results)}\n${folder}/results.md\nplots: npx tinylora-native plot ${quoted(folder)}`);
    failIfAnyFailed(results, folder);
  }, interrupted);
}

/** What is to run, also where the file leaves it open: "2 members of models/M on gsm8k and svamp, max_steps 100". */
function planText({ members }: SweepPlan): string {
  const all = (of: (config: TrainConfig) => unknown) =>
    [...new Set(members.map(({ config }) => of(config)))].join(" and ");
  return `${counted(members.length, "member")} of ${all(({ model }) => findModel(model))} on ${all(({ data }) => data)}, max_steps ${all((config) => config.max_steps)}`;
}

/** How far the model of the members that are running is loaded, then their steps, all together. */
class SweepProgress {
  readonly #bar = new Progress("training", " steps");
  #loading: Progress | undefined;
  readonly #running = new Map<Member, { step: number; steps: number }>();
  #trains = false;

  member({ member, event }: MemberReport): void {
    this.#endLoading();
    this.#bar.restart(); // other members, other sums
    this.#trains = false;
    if (event === "starts") this.#running.set(member, { step: 0, steps: member.config.max_steps });
    else this.#running.delete(member);
  }

  step(member: Member, { step, steps, metrics }: StepReport): void {
    this.#begin();
    this.#running.set(member, { step, steps });
    this.#update(this.#running.size === 1 ? rewardNote(metrics.reward) : "");
  }

  part({ phase, done, total }: Part): void {
    if (phase === "loading") {
      this.#bar.stop();
      this.#loading ??= new Progress("loading", "B");
      this.#loading.update(done, total);
      return;
    }
    this.#endLoading();
    if (phase === "SVD") {
      this.#trains = false;
      this.#update(`SVD ${done}/${total}`);
    } else this.#begin();
  }

  /** The time of the SVD is not that of steps. */
  #begin(): void {
    if (!this.#trains) this.#bar.restart();
    this.#trains = true;
  }

  #update(note: string): void {
    const sum = (key: "step" | "steps") => [...this.#running.values()].reduce((total, one) => total + one[key], 0);
    this.#bar.update(sum("step"), sum("steps"), note);
  }

  #endLoading(): void {
    this.#loading?.stop();
    this.#loading = undefined;
  }

  stop(): void {
    this.#endLoading();
    this.#bar.stop();
  }
}

function tell({ member, event, place, members, error }: MemberReport): void {
  const line = `${place}/${members} ${event} ${member.name}`;
  if (error) console.error(`${line}: ${error.message}`);
  else console.log(line);
}

function rewardNote(reward: number | undefined): string {
  return reward === undefined ? "" : `reward ${reward.toFixed(3)}`;
}

function overview({ settings, varied, best_of }: SweepResults): string {
  const keys = varied.filter((key) => !best_of.includes(key));
  const percent = (share: number | null | undefined) => (share == null ? "-" : `${(100 * share).toFixed(1)} %`);
  const rows = settings.map((setting) => [
    ...keys.map((key) => String(setting.settings[key] ?? "-")),
    setting.parameters ?? "-",
    percent(setting.base),
    ...best_of.map((key) => String(setting.best?.values[key] ?? "-")),
    percent(setting.best?.mean),
  ]);
  return table([...keys, "parameters", "base", ...best_of, "accuracy"], rows);
}

function failIfAnyFailed({ members }: SweepResults, folder: string): void {
  const failed = members.filter(({ status }) => status === "failed");
  if (failed.length === 0) return;
  throw new TinyLoraError(
    "ERR_SWEEP",
    `${failed.length} of ${members.length} members failed: ${folder}/results.md tells why; the same command tries them again`,
  );
}
