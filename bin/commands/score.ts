import type { Command } from "commander";
import { z } from "zod";
import { prepareFile } from "../../lib/files.js";
import { type Engine, type Prompt, TinyLoraError } from "../../lib/index.js";
import { firstLine } from "../../lib/model/files.js";
import { show } from "../../lib/show.js";
import { parseDivisor, parseName } from "../arguments.js";
import { ADAPTER_FLAG, ADAPTER_HELP, ENGINE_KEYS, loadAdapter, withEngine } from "../engine.js";
import { interruptible } from "../exit.js";
import { addFields, resolvedFields } from "../flags.js";
import { readInput, writeOutput } from "../io.js";
import { Progress } from "../progress.js";

const EXAMPLES = `
Input: a JSON list of sequences, each a text, a list of token ids, or a list of { role, content } messages.
Output: for each { "tokens": [...], "logprobs": [null, ...], "entropies": [null, ...] }; the first token has none.

Examples:
  $ echo '["The capital of France is Paris."]' | npx tinylora-native score --dtype fp32
  $ npx tinylora-native score --input sequences.json --output scores.json --adapter tl1-...`;

interface Options {
  adapter?: string;
  input: string;
  output: string;
  temperature: number;
}

const message = z.object({ role: z.enum(["system", "user", "assistant"]), content: z.string() });
const wrong =
  (expected: string) =>
  ({ input }: { input?: unknown }) =>
    `expected ${expected}, found ${show(input)}`;
const inputSchema = z.array(
  z.union([z.string(), z.array(z.int().min(0)).min(1), z.array(message).min(1)], {
    error: wrong("a text, a list of token ids or a list of messages"),
  }),
  { error: wrong("a list of sequences") },
);

export function scoreCommand(program: Command): void {
  const command = program
    .command("score")
    .description("tell the log-probability of every token of given texts or token ids; JSON in and out")
    .option(ADAPTER_FLAG, ADAPTER_HELP, parseName)
    .option("--input <file>", "JSON file, or - for standard input", parseName, "-")
    .option("--output <file>", "JSON file, or - for standard output", parseName, "-")
    .option("--temperature <number>", "temperature that the logits are divided by", parseDivisor, 1)
    .addHelpText("after", EXAMPLES);
  addFields(command, ENGINE_KEYS);
  command.action((options: Options) => run(command, options));
}

async function run(command: Command, options: Options): Promise<void> {
  const config = resolvedFields(command);
  if (options.output !== "-") await prepareFile(options.output);
  const adapter = await loadAdapter(options.adapter);
  const sequences = parseSequences(await readInput(options.input), options.input);
  await interruptible((signal) =>
    withEngine(config, adapter, signal, async (engine: Engine) => {
      const progress = new Progress("scoring");
      const scores = await engine
        .logprobs(sequences, { temperature: options.temperature, signal })
        .finally(() => progress.stop());
      const lines = scores.map(({ tokens, logprobs, entropies }) =>
        JSON.stringify({ tokens: [...tokens], logprobs: numbers(logprobs), entropies: numbers(entropies) }),
      );
      await writeOutput(options.output, `[\n${lines.join(",\n")}\n]\n`);
    }),
  );
}

function parseSequences(text: string, file: string): Prompt[] {
  const name = file === "-" ? "standard input" : file;
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw new TinyLoraError("ERR_USAGE", `${name}: expected JSON (${firstLine(cause)})`, { cause });
  }
  const parsed = inputSchema.safeParse(value);
  if (parsed.success) return parsed.data.map((one) => (isIds(one) ? Int32Array.from(one) : one));
  const issue = parsed.error.issues[0]!;
  throw new TinyLoraError(
    "ERR_USAGE",
    `${name}: ${issue.path.length ? `[${issue.path.join("][")}]: ` : ""}${issue.message}`,
  );
}

function isIds(sequence: z.infer<typeof inputSchema>[number]): sequence is number[] {
  return Array.isArray(sequence) && typeof sequence[0] === "number";
}

/** NaN has no JSON: null. Floats keep all their digits. */
function numbers(values: Float32Array): (number | null)[] {
  return Array.from(values, (value) => (Number.isNaN(value) ? null : value));
}
