/**
 * Makes models/embedded from nothing: a tokenizer learned from generated word problems, random weights, and two
 * courses of full fine-tuning on worked answers in several styles.
 *
 *   npx tsx examples/embedded-model/make.ts [FOLDER]
 *
 * Problems that `heldOut` keeps for testing never occur in the lessons. README.md beside this file has the recipe.
 */
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Dataset, Engine, type Example, FullWeights, heldOut, SftTrainer } from "tinylora-native";
import { writeInitialModel } from "./initial-model.js";
import { chooseStyle, draws, type Habits, makeProblem, ORDERS, solve } from "./problems.js";
import { learnTokenizer } from "./tokenizer.js";

const folder = process.argv[2] ?? "models/embedded";
const BATCH = 64;
const [PROBLEM_SEED, LESSON_SEED, WEIGHT_SEED, ORDER_SEED] = [1, 2, 3, 4];

interface Course {
  readonly steps: number;
  readonly rate: number;
  readonly habits: Habits;
}

/** First to solve problems, in uneven shares of the styles; then shares nearly even, and orders that name the style. */
const COURSES: readonly Course[] = [
  { steps: 1500, rate: 3e-3, habits: { often: 0.6, seldom: 0.25, rough: 0.4, ordered: 0 } },
  { steps: 160, rate: 1e-3, habits: { often: 0.5, seldom: 0.46, rough: 0.08, ordered: 0.3 } },
];

/** Question, worked answer and right answer of lesson `index`; none where the question is held out. */
function lesson(seed: number, index: number, habits: Habits): Example | undefined {
  const draw = draws(seed, index);
  const problem = makeProblem(draw);
  if (heldOut(problem.question)) return undefined;
  const style = chooseStyle(problem, habits, draw);
  const order = habits.ordered > 0 && draw() < habits.ordered ? `${ORDERS[style]} ` : "";
  return {
    id: `lesson/${index}`,
    question: order + problem.question,
    answer: String(problem.answer),
    row: { solution: solve(problem, style, draw) },
  };
}

function lessons(seed: number, count: number, habits: Habits): Example[] {
  const made: Example[] = [];
  for (let index = 0; made.length < count; index++) {
    const one = lesson(seed, index, habits);
    if (one) made.push(one);
  }
  return made;
}

/** What `npm start` trains and tests on: `loadDataset` cuts it by `heldOut`. The worked answers are for `sft`. */
function problems(count: number): { question: string; answer: string; solution: string }[] {
  const made = new Map<string, { question: string; answer: string; solution: string }>();
  for (let index = 0; made.size < count; index++) {
    const draw = draws(PROBLEM_SEED, index);
    const problem = makeProblem(draw);
    const { question, answer } = problem;
    made.set(question, { question, answer: String(answer), solution: solve(problem, "careful", draw) });
  }
  return [...made.values()];
}

/** Full fine-tuning of the model in `from`, written to `to`. */
async function teach(from: string, to: string, place: number, { steps, rate, habits }: Course): Promise<void> {
  const data: Dataset = {
    name: "lessons",
    train: lessons(LESSON_SEED + 1000 * place, steps * BATCH, habits),
    test: [],
  };
  await using engine = await Engine.load(from, { dtype: "bf16" });
  const trainer = new SftTrainer({
    engine,
    adapter: FullWeights.of(engine),
    data,
    config: {
      adapter: "full",
      shots: 0,
      num_prompts: BATCH,
      max_steps: steps,
      learning_rate: rate,
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
      if (step % 25 !== 0 && step !== steps) return;
      const seconds = ((performance.now() - start) / 1000).toFixed(0);
      const pace = `${measured.step_time!.toFixed(2)} s a step, ${seconds} s`;
      console.log(`course ${place + 1}  step ${step}/${steps}  loss ${metrics.loss!.toFixed(4)}  ${pace}`);
    },
  });
  await adapter.save(to);
}

const start = performance.now();
const texts = lessons(LESSON_SEED, 4000, COURSES[0]!.habits).flatMap(({ question, row }) => [
  question,
  String(row.solution),
]);
const { json, vocab } = learnTokenizer([...texts, "user\n", "assistant\n"], 512);
const stages = await mkdtemp(join(tmpdir(), "tinylora-embedded-"));
// From a folder of an earlier stage, its courses are left out: `make.ts FOLDER STAGE 1` goes on after the first.
const [given, done] = [process.argv[3], Number(process.argv[4] ?? 0)];
let stage = given ?? join(stages, "initial");
if (given === undefined) await writeInitialModel(stage, json, vocab, WEIGHT_SEED);
for (const [place, course] of COURSES.entries()) {
  if (place < done) continue;
  const to = place === COURSES.length - 1 ? folder : join(stages, `course-${place + 1}`);
  await teach(stage, to, place, course);
  stage = to;
}
await rm(stages, { recursive: true });
const lines = problems(2000).map((problem) => `${JSON.stringify(problem)}\n`);
await writeFile(join(folder, "problems.jsonl"), lines.join(""));
console.log(`${folder}: ${((performance.now() - start) / 1000).toFixed(0)} s`);
