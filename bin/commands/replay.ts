import type { Command } from "commander";
import {
  type Comparison,
  findModel,
  makeTrained,
  type Replay,
  readRunInfo,
  replayStep,
  resolveConfig,
  TinyLoraError,
} from "../../lib/index.js";
import { checkOwnRewards } from "../../lib/train/own-rewards.js";
import type { Progress as StepProgress } from "../../lib/train/progress.js";
import { statesAround } from "../../lib/train/replay.js";
import { parseCount } from "../arguments.js";
import { loadEngine } from "../engine.js";
import { interruptible } from "../exit.js";
import { addFields, givenFields } from "../flags.js";
import { Progress } from "../progress.js";

const EXAMPLES = `
Exit code 0: every bit is the same; 1: something differs, or the step cannot be made here.

Examples:
  $ npx tinylora-native replay runs/svamp --step 17             the tokens, rewards and update of step 17, made again
  $ npx tinylora-native replay runs/svamp --step 17 --model path/to/model`;

/** How many differences of a kind are told. */
const TOLD = 5;

export function replayCommand(program: Command): void {
  const command = program
    .command("replay")
    .description("make a step of a run again, and tell whether it has the bits that the run kept")
    .argument("<run>", "folder of the run")
    .requiredOption("--step <n>", "which step; the first is 1", parseCount)
    .addHelpText("after", EXAMPLES);
  addFields(command, ["model", "device", "threads"]);
  command.action((run: string, { step }: { step: number }) => replay(command, run, step));
}

async function replay(command: Command, run: string, step: number): Promise<void> {
  const info = await readRunInfo(run);
  checkOwnRewards(run, info, undefined);
  await statesAround(run, step); // before the model is loaded, which can take minutes
  const config = resolveConfig({ ...info.config, ...givenFields(command) }, run);
  config.model = findModel(config.model);
  const result = await interruptible(async (signal) => {
    const engine = await loadEngine(config, signal);
    try {
      const adapter = await makeTrained(engine, config);
      const progress = new Progress(`step ${step}`);
      const onProgress = ({ phase, done, total }: StepProgress) => progress.update(done, total, phase);
      return await replayStep({ engine, adapter, run, step, signal, onProgress }).finally(() => progress.stop());
    } finally {
      engine.dispose();
    }
  });
  tell(result, run, step);
  if (!result.same) throw new TinyLoraError("ERR_REPLAY", `${run}: step ${step} differs from what the run kept`);
}

function tell({ method, completions, metrics, state, same }: Replay, run: string, step: number): void {
  console.log(`step ${step} of ${run}, ${method}, made again:`);
  if (completions.compared > 0) line("completions", completions, "tokens, log-probabilities, rewards, advantages");
  line("metrics", metrics, "of the step");
  line("state", state, "v, optimiser, gradient, tokens");
  if (same) console.log("the same bits");
}

function line(name: string, { compared, differences }: Comparison, what: string): void {
  const found = differences.length === 0 ? "all the same" : `${differences.length} differ`;
  console.log(`  ${name.padEnd(12)}${String(compared).padStart(5)} compared (${what}): ${found}`);
  for (const difference of differences.slice(0, TOLD)) console.log(`    ${difference}`);
  if (differences.length > TOLD) console.log(`    and ${differences.length - TOLD} more`);
}
