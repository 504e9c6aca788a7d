/**
 * A run on the fake policy in a process of its own: fake-run.ts FOLDER start|resume [STEP MS]. It kills itself so long
 * after that step: a test that killed it from outside could come too late.
 */
import { GrpoTrainer } from "../../lib/train/grpo-trainer.js";
import { FakePolicy } from "../unit/train/fake-policy.js";

const [run, mode, last, delay] = process.argv.slice(2);
const policy = new FakePolicy();
const problems = Array.from({ length: 7 }, (_, i) => ({
  id: `fake/${i + 1}`,
  question: `question ${i}`,
  answer: "7",
  row: {},
}));
const trainer = new GrpoTrainer({
  engine: policy,
  adapter: policy.adapter(),
  data: { name: "fake", train: problems, test: problems.slice(0, 2) },
  rewards: { sevens: (completion) => [...completion].filter((letter) => letter === "7").length },
  config: {
    num_prompts: 2,
    num_generations: 4,
    max_completion_length: 8,
    max_steps: 12,
    eval_steps: 3,
    save_steps: 1,
    save_total_limit: 2,
  },
  run: run!,
  resume: mode === "resume",
});
await trainer.train({
  onWarning: (message) => console.error(message),
  onStep: ({ step }) => {
    if (step === Number(last)) setTimeout(() => process.kill(process.pid, "SIGKILL"), Number(delay));
  },
});
