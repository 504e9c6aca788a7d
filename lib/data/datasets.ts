import { aime24 } from "./aime24.js";
import { aime25 } from "./aime25.js";
import { amc23 } from "./amc23.js";
import type { DatasetSpec } from "./example.js";
import { gsm8k } from "./gsm8k.js";
import { math } from "./math.js";
import { math500 } from "./math500.js";
import { mawps } from "./mawps.js";
import { simplerl_easy, simplerl_hard, simplerl_medium } from "./simplerl.js";
import { svamp } from "./svamp.js";

/** The data sets that can be named. To add one: a file beside these and a line here. */
export const datasets: Readonly<Record<string, DatasetSpec>> = {
  gsm8k,
  svamp,
  mawps,
  math,
  math500,
  aime24,
  aime25,
  amc23,
  simplerl_easy,
  simplerl_medium,
  simplerl_hard,
};
