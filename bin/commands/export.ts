import { type Command, Option } from "commander";
import { checkNewFolder } from "../../lib/export/merged.js";
import { checkFolder, prepareFile } from "../../lib/files.js";
import {
  Adapter,
  bf16Error,
  findModel,
  type MergeError,
  plainLora,
  TinyLoraError,
  writeGgufLora,
  writeMerged,
  writePeftLora,
  writePeftTinyLora,
} from "../../lib/index.js";
import { parseName } from "../arguments.js";
import { ADAPTER_FLAG, ADAPTER_HELP, ENGINE_KEYS, withEngine } from "../engine.js";
import { interruptible } from "../exit.js";
import { addFields, resolvedFields } from "../flags.js";
import { Progress } from "../progress.js";

const EXAMPLES = `
Examples:
  $ npx tinylora-native export --adapter runs/a --format lora --output out/lora        PEFT, transformers, vLLM, SGLang, TGI
  $ npx tinylora-native export --adapter runs/a --format gguf --output out/lora.gguf   llama.cpp
  $ npx tinylora-native export --adapter runs/a --format peft --output out/tinylora    PEFT's own TinyLoRA: goes on training there
  $ npx tinylora-native export --adapter runs/a --format merged --dtype fp32 --output out/model    the model with the adapter in its weights`;

const FORMATS = ["lora", "gguf", "peft", "merged"] as const;

interface Options {
  adapter: string;
  format: (typeof FORMATS)[number];
  output: string;
}

export function exportCommand(program: Command): void {
  const command = program
    .command("export")
    .description("write an adapter in the form that other programs load")
    .requiredOption(ADAPTER_FLAG, ADAPTER_HELP, parseName)
    .addOption(
      new Option(
        "--format <name>",
        "lora: plain LoRA, as PEFT and many servers load it; gguf: the same for llama.cpp; peft: PEFT's TinyLoRA; merged: a model with the adapter in its weights (of --dtype)",
      )
        .choices(FORMATS)
        .default("lora"),
    )
    .requiredOption("--output <path>", "where it goes: a folder (lora, peft, merged) or a file (gguf)", parseName)
    .addHelpText("after", EXAMPLES);
  addFields(command, ENGINE_KEYS);
  command.action((options: Options) => run(command, options));
}

async function run(command: Command, { adapter: source, format, output }: Options): Promise<void> {
  const config = resolvedFields(command);
  // What is wrong with the output is told before the model is loaded, which can take minutes.
  if (format === "merged") checkNewFolder(output);
  const adapter = await Adapter.load(source);
  if (format === "gguf" && !output.endsWith(".gguf")) {
    throw new TinyLoraError("ERR_USAGE", `--output: expected a .gguf file for --format gguf, found "${output}"`);
  }
  await (format === "gguf" ? prepareFile(output) : checkFolder(output));
  const model = findModel(config.model);
  await interruptible((signal) =>
    withEngine(config, adapter, signal, async (engine) => {
      if (format === "peft") return writePeftTinyLora(output, adapter, engine.basis(), model);
      const lora = plainLora(engine.basis(), adapter.v);
      if (format === "merged") {
        const progress = new Progress("merging", " tensors");
        const options = { signal, onProgress: progress.update };
        const errors = await writeMerged(output, engine.model, lora, engine.dtype, options).finally(() =>
          progress.stop(),
        );
        return console.error(mergeNote(errors, engine.dtype));
      }
      if (format === "gguf") await writeGgufLora(output, lora, engine.model.config);
      else await writePeftLora(output, lora, model);
      console.error(
        `rounded to bf16, as an engine may do, the update moves by ${(100 * bf16Error(lora)).toFixed(3)} % at most`,
      );
    }),
  );
  console.log(output);
}

/** The worst module of each measure. */
function mergeNote(errors: readonly MergeError[], dtype: string): string {
  const worst = (key: "largest" | "relative" | "ofUpdate") =>
    errors.reduce((most, error) => (error[key] > most[key] ? error : most));
  const [largest, relative, update] = [worst("largest"), worst("relative"), worst("ofUpdate")];
  return `rounded to ${dtype}, weights move by ${largest.largest.toExponential(2)} at most (${largest.module}), a module by ${relative.relative.toExponential(2)} of its norm (${relative.module}), and an update by ${(100 * update.ofUpdate).toFixed(2)} % of its own (${update.module})`;
}
