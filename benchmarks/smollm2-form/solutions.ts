// Worked one-step solutions for SFT to teach the form with, from SVAMP's equations of one operation ("( 76.0 - 25.0 )"):
//   {"question": "Each pack ...", "answer": "76 - 25 = 51\n#### 51"}     of the first 700 problems, 536 lines
//   npx tsx benchmarks/smollm2-form/solutions.ts ../shared/data/svamp/SVAMP.json one-step.jsonl
import { readFileSync, writeFileSync } from "node:fs";
import { z } from "zod";

const TRAINED = 700;
const problem = z.object({ Body: z.string(), Question: z.string(), Equation: z.string(), Answer: z.coerce.number() });
const ONE_OPERATION = /^\( *([\d.]+) *([-+*/]) *([\d.]+) *\)$/;

const [source, target] = process.argv.slice(2);
if (source === undefined || target === undefined) throw new Error("usage: solutions.ts SVAMP.json OUT.jsonl");

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
