import { basename, extname } from "node:path";
import type { Command } from "commander";
import {
  type MemberReport,
  planSweep,
  runSweep,
  type StepReport,
  type SweepResults,
  TinyLoraError,
} from "../../lib/index.js";
import { ENGINE_KEYS } from "../engine.js";
import { interruptible } from "../exit.js";
import { addFields, givenFields } from "../flags.js";
import { table } from "../io.js";
import { Progress } from "../progress.js";

const AFTER = `
Examples:
  $ tinylora-native sweep benchmarks/paper/accuracy-small.yaml            results in runs/accuracy-small
  $ tinylora-native sweep sweep.yaml --dry-run                            check the file, list the members
  $ tinylora-native sweep sweep.yaml --model models/Qwen2.5-7B-Instruct   over the model of its base

The file (docs/sweeps.md): base, grid, seeds, best_of, metric. Ctrl-C leaves a sweep that the same command goes on with.`;

interface Flags {
  folder?: string;
  dryRun?: boolean;
}

export function sweepCommand(program: Command): void {
  const command = program
    .command("sweep <file>")
    .description("train every member of a grid of options, and compare them")
    .option("--folder <folder>", "of the sweep (runs/NAME of the file)")
    .option("--dry-run", "check the file and list its members, run nothing")
    .addHelpText("after", AFTER);
  addFields(command, [...ENGINE_KEYS, "data", "eval_data"]);
  command.action((file: string, flags: Flags) => sweep(command, file, flags));
}

async function sweep(command: Command, file: string, flags: Flags): Promise<void> {
  const changes = givenFields(command);
  if (flags.dryRun) {
    const { members } = await planSweep(file, changes);
    for (const { name } of members) console.log(name);
    console.error(`${members.length} members`);
    return;
  }
  const folder = flags.folder ?? `runs/${basename(file, extname(file))}`;
  const progress = new Progress("training", " steps");
  const interrupted = () => console.error("\ninterrupted: saving the last finished step (again to stop at once)");
  await interruptible(async (signal) => {
    const { stopped, results } = await runSweep({
      sweep: file,
      folder,
      changes,
      signal,
      onMember: (report) => {
        progress.stop();
        tell(report);
      },
      onStep: (_, { step, steps, metrics }: StepReport) => progress.update(step, steps, rewardNote(metrics.reward)),
      onWarning: (message) => console.error(`warning: ${message}`),
    }).finally(() => progress.stop());
    if (stopped === "aborted") {
      console.error(`stopped: go on with \`tinylora-native sweep ${file} --folder ${folder}\``);
      signal.throwIfAborted();
    }
    console.log(`\n${overview(results)}\n${folder}/results.md\nplots: tinylora-native plot ${folder}`);
    failIfAnyFailed(results, folder);
  }, interrupted);
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
