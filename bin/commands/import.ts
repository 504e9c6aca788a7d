import type { Command } from "commander";
import { flagOf } from "../../lib/config/fields.js";
import { readPeftConfig } from "../../lib/export/peft-files.js";
import { checkFolder } from "../../lib/files.js";
import { Adapter, importPeft, optionsOf } from "../../lib/index.js";
import { parseName } from "../arguments.js";
import { ENGINE_KEYS, withEngine } from "../engine.js";
import { interruptible } from "../exit.js";
import { addFields, resolvedFields } from "../flags.js";
import { quoted } from "../io.js";

const EXAMPLES = `
Examples:
  $ npx tinylora-native import peft-lora --output adapters/mine
  $ npx tinylora-native eval --adapter adapters/mine
  $ npx tinylora-native train --start-from adapters/mine --adapter lora --r 8     with the options that import prints`;

export function importCommand(program: Command): void {
  const command = program
    .command("import")
    .description("make an adapter of a LoRA or TinyLoRA that PEFT saved")
    .argument("<folder>", "PEFT's folder, with adapter_config.json and adapter_model.safetensors")
    .requiredOption("--output <folder>", "where the adapter goes", parseName)
    .addHelpText("after", EXAMPLES);
  addFields(command, ENGINE_KEYS);
  command.action((folder: string, options: { output: string }) => run(command, folder, options.output));
}

async function run(command: Command, folder: string, output: string): Promise<void> {
  const config = resolvedFields(command);
  // What is wrong with the folders is told before the model is loaded, which can take minutes.
  await readPeftConfig(folder);
  await checkFolder(output);
  await interruptible((signal) =>
    withEngine(config, undefined, signal, async (engine) => {
      await importPeft(folder, engine, output);
      const adapter = await Adapter.load(output);
      adapter.checkBase(engine);
      const flags = Object.entries(optionsOf(adapter)).map(([key, value]) => `${flagOf(key)} ${value}`);
      console.error(`to train it: --start-from ${quoted(output)} ${flags.join(" ")}`);
    }),
  );
  console.log(output);
}
