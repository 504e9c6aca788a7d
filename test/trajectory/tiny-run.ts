/** A run on the small random model in a process of its own: tiny-run.ts FOLDER start|resume OPTIONS(JSON). */
import type { TrainOptions } from "../../lib/config/schema.js";
import type { Dtype } from "../../lib/native/addon.js";
import { GrpoTrainer } from "../../lib/train/trainer.js";
import { TinyPolicy } from "./tiny-policy.js";

const [run, mode, json] = process.argv.slice(2);
const { dtype, threads, ...config } = JSON.parse(json!) as TrainOptions & { dtype: Dtype; threads: number };
const policy = await TinyPolicy.open(`${run}-model`, { dtype, threads });
const problems = Array.from({ length: 7 }, (_, i) => ({
  id: `tiny/${i + 1}`,
  question: `${i} + ${i}`,
  answer: `${2 * i}`,
  row: {},
}));
const trainer = new GrpoTrainer({
  engine: policy,
  adapter: policy.adapter(),
  data: { name: "tiny", train: problems, test: problems.slice(0, 3) },
  rewards: { vowels: (completion) => [...completion].filter((letter) => "aeiou".includes(letter)).length },
  config: {
    num_prompts: 3,
    num_generations: 4,
    max_completion_length: 12,
    max_steps: 4,
    eval_steps: 2,
    save_steps: 1,
    ...config,
  },
  run: run!,
  resume: mode === "resume",
});
await trainer.train({ onWarning: (message) => console.error(message) });
policy.dispose();
