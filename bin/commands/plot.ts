import { join } from "node:path";
import type { Command } from "commander";
import { plotFolders } from "../../lib/index.js";
import { parseName, parseNames } from "../arguments.js";

const AFTER = `
Examples:
  $ npx tinylora-native plot runs/accuracy-small                 a sweep: accuracy, ablations, curves of the best rates
  $ npx tinylora-native plot runs/svamp runs/gsm8k --output plots        two runs: reward, length and held-out curves
  $ npx tinylora-native plot runs/sweep --by num_generations     accuracy against any option of the grid`;

export function plotCommand(program: Command): void {
  program
    .command("plot <folders...>")
    .description("draw sweeps and runs as SVG and PNG, with the data as CSV")
    .option("--output <folder>", "where the files go (default: plots in the first folder)", parseName)
    .option(
      "--by <keys>",
      "options that ablations are drawn over (default: r,u,n_tie,v_dtype,tying, where they vary)",
      parseNames,
    )
    .addHelpText("after", AFTER)
    .action(async (folders: string[], { output, by }: { output?: string; by?: string[] }) => {
      const paths = await plotFolders({
        folders,
        output: output ?? join(folders[0]!, "plots"),
        by,
        onWarning: (message) => console.error(`warning: ${message}`),
      });
      for (const path of paths) console.log(`${path}.svg  .png  .csv`);
    });
}
