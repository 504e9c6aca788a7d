/** A sweep in a process of its own, for tests that kill it: run-sweep.ts SWEEP(JSON) FOLDER N. Tells of the N-th step. */
import { runSweep, type SweepSpec } from "../../../lib/index.js";

const [sweep, folder, count] = process.argv.slice(2);
let steps = 0;
await runSweep({
  sweep: JSON.parse(sweep!) as SweepSpec,
  folder: folder!,
  onStep: ({ name }, { step }) => {
    if (step > 0 && ++steps === Number(count)) console.log(name);
  },
});
