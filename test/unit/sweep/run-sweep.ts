/** A sweep in a process of its own, which kills itself after its N-th step: run-sweep.ts SWEEP(JSON) FOLDER N. */
import { runSweep, type SweepSpec } from "../../../lib/index.js";

const [sweep, folder, count] = process.argv.slice(2);
let steps = 0;
await runSweep({
  sweep: JSON.parse(sweep!) as SweepSpec,
  folder: folder!,
  onStep: (_, { step }) => {
    if (step > 0 && ++steps === Number(count)) process.kill(process.pid, "SIGKILL");
  },
});
