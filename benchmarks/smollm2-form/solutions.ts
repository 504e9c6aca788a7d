/**
 * Worked one-step solutions to teach a model the form with, by SFT: made from SVAMP's equations of one operation, such as
 * "( 76.0 - 25.0 )", of its first 700 problems (536 lines):
 *
 *   {"question": "Each pack ...", "answer": "76 - 25 = 51\n#### 51"}
 *
 *   npx tsx benchmarks/smollm2-form/solutions.ts ../shared/data/svamp/SVAMP.json one-step.jsonl
 */
import { readFileSync, writeFileSync } from "node:fs";
import { z } from "zod";
import { readFlags, refuse } from "../flags.js";

const TRAINED = 700;
const problem = z.object({ Body: z.string(), Question: z.string(), Equation: z.string(), Answer: z.coerce.number() });
const ONE_OPERATION = /^\( *([\d.]+) *([-+*/]) *([\d.]+) *\)$/;

const [source, target, ...more] = readFlags({ allowPositionals: true }).positionals;
if (source === undefined || target === undefined || more.length > 0) {
  refuse(`expected two files, SVAMP.json and the one to write, found ${process.argv.length - 2}`);
}

const lines = z
  .array(problem)
  .parse(JSON.parse(readFileSync(source, "utf8")))
  .slice(0, TRAINED)
  .flatMap(({ Body, Question, Equation, Answer }) => {
    const [, a, operator, b] = ONE_OPERATION.exec(Equation.trim()) ?? [];
    if (operator === undefined) return [];
    const answer = `${Number(a)} ${operator} ${Number(b)} = ${Answer}\n#### ${Answer}`;
    return [JSON.stringify({ question: `${Body.trim()} ${Question.trim()}`, answer })];
  });
writeFileSync(target, `${lines.join("\n")}\n`);
console.log(`${lines.length} problems`);
