import { type Command, Option } from "commander";
import {
  bf16Error,
  findModel,
  plainLora,
  TinyLoraError,
  writeGgufLora,
  writePeftLora,
  writePeftTinyLora,
} from "../../lib/index.js";
import { ADAPTER_FLAG, ADAPTER_HELP, ENGINE_KEYS, loadAdapter, withEngine } from "../engine.js";
import { interruptible } from "../exit.js";
import { addFields, resolvedFields } from "../flags.js";

const EXAMPLES = `
Examples:
  $ tinylora-native export --adapter runs/a --format lora --output out/lora        PEFT, transformers, vLLM, SGLang, TGI
  $ tinylora-native export --adapter runs/a --format gguf --output out/lora.gguf   llama.cpp
  $ tinylora-native export --adapter runs/a --format peft --output out/tinylora    PEFT's own TinyLoRA: goes on training there`;

const FORMATS = ["lora", "gguf", "peft"] as const;

interface Options {
  adapter: string;
  format: (typeof FORMATS)[number];
  output: string;
}

export function exportCommand(program: Command): void {
  const command = program
    .command("export")
    .description("write an adapter in the form that other programs load")
    .requiredOption(ADAPTER_FLAG, ADAPTER_HELP)
    .addOption(
      new Option("--format <name>", "plain LoRA for PEFT, for llama.cpp, or PEFT's TinyLoRA")
        .choices(FORMATS)
        .default("lora"),
    )
    .requiredOption("--output <path>", "folder (lora, peft) or file (gguf)")
    .addHelpText("after", EXAMPLES);
  addFields(command, ENGINE_KEYS);
  command.action((options: Options) => run(command, options));
}

async function run(command: Command, { adapter: source, format, output }: Options): Promise<void> {
  const config = resolvedFields(command);
  const adapter = await loadAdapter(source);
  if (!adapter) throw new TinyLoraError("ERR_USAGE", "--adapter: expected an adapter");
  if (format === "gguf" && !output.endsWith(".gguf")) {
    throw new TinyLoraError("ERR_USAGE", `--output: expected a .gguf file for --format gguf, found "${output}"`);
  }
  const model = findModel(config.model);
  await interruptible((signal) =>
    withEngine(config, adapter, signal, async (engine) => {
      if (format === "peft") return writePeftTinyLora(output, adapter, engine.basis(), model);
      const lora = plainLora(engine.basis(), adapter.v);
      if (format === "gguf") await writeGgufLora(output, lora, engine.model.config);
      else await writePeftLora(output, lora, model);
      console.error(
        `rounded to bf16, as an engine may do, the update moves by ${(100 * bf16Error(lora)).toFixed(3)} % at most`,
      );
    }),
  );
  console.log(output);
}
