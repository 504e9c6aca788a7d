import type { Command } from "commander";
import { type Message, TinyLoraError } from "../../lib/index.js";
import { parseName, parseTemperature } from "../arguments.js";
import { ADAPTER_FLAG, ADAPTER_HELP, loadAdapter, SAMPLER_KEYS, withEngine } from "../engine.js";
import { interruptible } from "../exit.js";
import { addFields, checkSampled, resolvedFields } from "../flags.js";
import { readInput } from "../io.js";

const EXAMPLES = `
Examples:
  $ npx tinylora-native generate "What is 7 * 8?"
  $ npx tinylora-native generate --adapter runs/gsm8k --temperature 0 "What is 7 * 8?"
  $ echo "Once upon a time" | npx tinylora-native generate --text --max-completion-length 64`;

interface Options {
  adapter?: string;
  temperature: number;
  text?: true;
}

export function generateCommand(program: Command): void {
  const command = program
    .command("generate")
    .description("answer a prompt, printing each token as it is sampled")
    .argument("[prompt]", "what to answer; when not given it is read from standard input")
    .option(ADAPTER_FLAG, ADAPTER_HELP, parseName)
    .option("--temperature <number>", "temperature of sampling; 0 is greedy", parseTemperature, 1)
    .option("--text", "continue the prompt as plain text, without the chat template")
    .addHelpText("after", EXAMPLES);
  addFields(command, [...SAMPLER_KEYS, "system", "max_completion_length", "top_p", "top_k", "min_p", "stop", "seed"], {
    seed: "seed of sampling",
  });
  command.action((prompt: string | undefined, options: Options) => run(command, prompt, options));
}

async function run(command: Command, given: string | undefined, options: Options): Promise<void> {
  const config = resolvedFields(command);
  checkSampled(command, options.temperature);
  if (options.text && config.system !== null) {
    throw new TinyLoraError("ERR_USAGE", "--system has no effect with --text: the prompt is all that the model reads");
  }
  const adapter = await loadAdapter(options.adapter);
  const prompt = given ?? (await readInput("-"));
  if (prompt.trim() === "" && !options.text)
    throw new TinyLoraError("ERR_USAGE", "prompt: expected a text, found none");
  const system: Message[] = config.system === null ? [] : [{ role: "system", content: config.system }];
  const messages: Message[] = [...system, { role: "user", content: prompt }];
  await interruptible((signal) =>
    withEngine(config, adapter, signal, async (engine) => {
      const pieces = engine.stream(options.text ? prompt : messages, {
        maxCompletionLength: config.max_completion_length,
        temperature: options.temperature,
        topP: config.top_p,
        topK: config.top_k,
        minP: config.min_p,
        stop: config.stop,
        seed: config.seed,
        signal,
      });
      for await (const piece of pieces) process.stdout.write(piece.text);
      process.stdout.write("\n");
    }),
  );
}
