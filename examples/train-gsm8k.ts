/**
 * Trains SmolLM2-135M on grade-school maths by changing 13 numbers, then compares it with the base model.
 *
 *   npx tsx examples/train-gsm8k.ts [MODEL] [STEPS]
 */
import {
  Adapter,
  Engine,
  evaluate,
  findModel,
  GrpoTrainer,
  loadDataset,
  type Reward,
  TinyLoraError,
} from "tinylora-native";

// What this package throws says in one sentence what was wrong.
process.on("uncaughtException", (error) => {
  console.error(error instanceof TinyLoraError ? `error: ${error.message}` : error);
  process.exit(1);
});

const model = findModel(process.argv[2]);
const steps = Number(process.argv[3] ?? 150);
if (!Number.isInteger(steps) || steps < 1) {
  console.error(`error: expected a number of steps, 1 or more, found ${process.argv[3]}`);
  process.exit(2);
}

await using engine = await Engine.load(model, { onProgress: progress("loading") });

// One vector of 13 numbers moves all 210 weight matrices along directions that their SVD fixes.
const adapter = Adapter.create(engine, { r: 2, u: 13, tying: { kind: "all" }, dtype: "bf16" });
await engine.attach(adapter, { onProgress: progress("SVD") });

// A reward is any function of a completion and its problem. The trainer samples the next ones while it runs.
const answer: Reward = (completion, problem) => {
  const numbers = completion.replaceAll(",", "").match(/-?\d+(\.\d+)?/g) ?? [];
  return Number(numbers.at(-1)) === Number(problem.answer.replaceAll(",", "")) ? 1 : 0;
};
const brief: Reward = (completion) => -completion.length / 20_000;

const trainer = new GrpoTrainer({
  engine,
  adapter,
  rewards: { answer, brief },
  run: `runs/gsm8k-example-${Date.now()}`,
  config: {
    data: "gsm8k",
    num_prompts: 8,
    num_generations: 8,
    shots: 2,
    max_completion_length: 192,
    learning_rate: 2e-3,
    max_steps: steps,
    eval_steps: 0,
  },
});
const { adapter: trained } = await trainer.train({
  onStep: ({ step, metrics }) => console.log(`step ${step}: reward ${Number(metrics.reward).toFixed(3)}`),
});
console.log(`the adapter, to paste anywhere: ${trained}`);

// The trained vector is in slot 0; slot -1 is the base model. Both answer the same held-out problems, asked as in training.
const problems = (await loadDataset("gsm8k")).test.slice(0, 100);
const options = { shots: 2, max_completion_length: 192 };
for (const slot of [-1, 0]) {
  const { lenient, seconds } = await evaluate(engine, problems, { ...options, slot });
  console.log(`${slot < 0 ? "base model" : "13 numbers"}: ${(100 * lenient).toFixed(1)} % in ${seconds.toFixed(0)} s`);
}

function progress(what: string): (done: number, total: number) => void {
  return (done, total) => process.stderr.write(`\r${what} ${Math.floor((100 * done) / total)} % `);
}
