/**
 * Makes models/embedded from nothing: a tokenizer learned from generated word problems, random weights, and full
 * fine-tuning on worked answers in several styles.
 *
 *   npx tsx examples/embedded-model/make.ts [FOLDER] [STEPS]
 *
 * Problems that `heldOut` keeps for testing never occur in the lessons. README.md beside this file has the recipe.
 */
import { mkdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Dataset, Engine, type Example, FullWeights, heldOut, SftTrainer } from "tinylora-native";
import { writeInitialModel } from "./initial-model.js";
import { chooseStyle, draws, makeProblem, solve } from "./problems.js";
import { learnTokenizer } from "./tokenizer.js";

const folder = process.argv[2] ?? "models/embedded";
const steps = Number(process.argv[3] ?? 1200);
const batch = 64;
const [PROBLEM_SEED, LESSON_SEED, WEIGHT_SEED, ORDER_SEED] = [1, 2, 3, 4];

/** Question, worked answer and right answer of lesson `index`; none where the question is held out. */
function lesson(index: number): Example | undefined {
  const draw = draws(LESSON_SEED, index);
  const problem = makeProblem(draw);
  if (heldOut(problem.question)) return undefined;
  const solution = solve(problem, chooseStyle(problem, draw), draw);
  return {
    id: `lesson/${index}`,
    question: problem.question,
    answer: String(problem.answer),
    row: { solution },
  };
}

function lessons(count: number): Example[] {
  const made: Example[] = [];
  for (let index = 0; made.length < count; index++) {
    const one = lesson(index);
    if (one) made.push(one);
  }
  return made;
}

/** What `npm start` trains and tests on: `loadDataset` cuts it by `heldOut`. */
function problems(count: number): { question: string; answer: string }[] {
  const made = new Map<string, string>();
  for (let index = 0; made.size < count; index++) {
    const { question, answer } = makeProblem(draws(PROBLEM_SEED, index));
    made.set(question, String(answer));
  }
  return [...made].map(([question, answer]) => ({ question, answer }));
}

const start = performance.now();
const train = lessons(steps * batch);
const texts = train.slice(0, 4000).flatMap(({ question, row }) => [question, String(row.solution)]);
const { json, vocab } = learnTokenizer([...texts, "user\n", "assistant\n"], 512);
const initial = join(tmpdir(), `tinylora-embedded-${process.pid}`);
await writeInitialModel(initial, json, vocab, WEIGHT_SEED);
console.log(`${train.length} lessons, vocabulary of ${vocab}`);

const data: Dataset = { name: "lessons", train, test: [] };
{
  await using engine = await Engine.load(initial, { dtype: "bf16" });
  const trainer = new SftTrainer({
    engine,
    adapter: FullWeights.of(engine),
    data,
    config: {
      adapter: "full",
      shots: 0,
      num_prompts: batch,
      max_steps: steps,
      learning_rate: 3e-3,
      lr_scheduler_type: "cosine",
      warmup_steps: Math.min(50, steps),
      adam_beta2: 0.98,
      weight_decay: 0.01,
      token_budget: 4096,
      seed: ORDER_SEED,
    },
  });
  const { adapter } = await trainer.train({
    onStep: ({ step, metrics, measured }) => {
      if (step % 25 === 0 || step === steps) {
        const seconds = ((performance.now() - start) / 1000).toFixed(0);
        console.log(
          `step ${step}/${steps}  loss ${metrics.loss!.toFixed(4)}  ${measured.step_time!.toFixed(2)} s a step, ${seconds} s`,
        );
      }
    },
  });
  await mkdir(folder, { recursive: true });
  await adapter.save(folder);
}
await rm(initial, { recursive: true });
const lines = problems(2000).map((problem) => `${JSON.stringify(problem)}\n`);
await writeFile(join(folder, "problems.jsonl"), lines.join(""));
console.log(`${folder}: ${((performance.now() - start) / 1000).toFixed(0)} s`);
