/**
 * A run on the small random model in a process of its own: tiny-run.ts FOLDER start|resume OPTIONS(JSON) [STEP]. It kills
 * itself after that step.
 */
import { runTiny, type TinyOptions } from "./tiny-policy.js";

const [run, mode, options, last] = process.argv.slice(2);
await runTiny(run!, mode as "start" | "resume", JSON.parse(options!) as TinyOptions, {
  onStep: ({ step }) => {
    if (step === Number(last)) process.kill(process.pid, "SIGKILL");
  },
});
