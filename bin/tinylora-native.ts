#!/usr/bin/env node
import { Command } from "commander";
import { packageVersion } from "../lib/index.js";
import { benchCommand } from "./commands/bench.js";
import { evalCommand } from "./commands/eval.js";
import { exportCommand } from "./commands/export.js";
import { generateCommand } from "./commands/generate.js";
import { importCommand } from "./commands/import.js";
import { infoCommand } from "./commands/info.js";
import { plotCommand } from "./commands/plot.js";
import { replayCommand } from "./commands/replay.js";
import { scoreCommand } from "./commands/score.js";
import { startCommand } from "./commands/start.js";
import { sweepCommand } from "./commands/sweep.js";
import { sftCommand, trainCommand } from "./commands/train.js";
import { exitCode, report } from "./exit.js";
import { withTrlName } from "./flags.js";

const program = new Command("tinylora-native")
  .description("Trains language models by changing 1 to 13 numbers: TinyLoRA and GRPO on a native engine.")
  .version(packageVersion())
  .showHelpAfterError("(--help says more)")
  .configureOutput({ outputError: (text, write) => write(withTrlName(text)) })
  .exitOverride();

for (const add of [
  startCommand,
  trainCommand,
  sftCommand,
  sweepCommand,
  replayCommand,
  plotCommand,
  evalCommand,
  generateCommand,
  scoreCommand,
  exportCommand,
  importCommand,
  infoCommand,
  benchCommand,
])
  add(program);

// A reader that has seen enough (`| head`) is no failure.
process.stdout.on("error", (error: NodeJS.ErrnoException) => {
  if (error.code === "EPIPE") process.exit(0);
  console.error(`error: standard output: cannot be written (${error.code})`);
  process.exit(1);
});
// What is said of the work may go nowhere: the work goes on.
process.stderr.on("error", () => {});

try {
  await program.parseAsync();
} catch (error) {
  report(error);
  process.exitCode = exitCode(error);
}
