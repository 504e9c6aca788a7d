/**
 * Any Node program can answer with a trained adapter: from a run folder, or from the short string of one.
 *
 *   npx tsx examples/use-adapter.ts ADAPTER [MODEL] [QUESTION]
 */
import { Adapter, Engine, findModel, TinyLoraError } from "tinylora-native";

// What this package throws says in one sentence what was wrong.
process.on("uncaughtException", (error) => {
  console.error(error instanceof TinyLoraError ? `error: ${error.message}` : error);
  process.exit(1);
});

const [source, model, question = "Tom has 3 boxes of 12 eggs and breaks 4. How many are left?"] = process.argv.slice(2);
if (source === undefined) {
  console.error("error: expected an adapter, a run folder or a string that begins with tl1-, found nothing");
  process.exit(2);
}

const adapter = await Adapter.load(source);
await using engine = await Engine.load(findModel(model));
await engine.attach(adapter);

// Streaming, with the adapter.
for await (const piece of engine.stream([{ role: "user", content: question }], {
  temperature: 0,
  maxCompletionLength: 200,
})) {
  process.stdout.write(piece.text);
}
console.log();

// Both models side by side in one batch: `adapter: "base"` leaves the 13 numbers out.
const options = { temperature: 0, maxCompletionLength: 200 };
const messages = [{ role: "user" as const, content: question }];
const [[tuned], [base]] = await Promise.all([
  engine.generate([messages], options),
  engine.generate([messages], { ...options, adapter: "base" }),
]);
console.log(`\nwith the adapter: ${tuned?.tokens.length} tokens; without: ${base?.tokens.length} tokens`);
