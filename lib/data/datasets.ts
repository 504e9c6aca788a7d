import { aime24 } from "./aime24.js";
import { amc23 } from "./amc23.js";
import type { DatasetSpec } from "./example.js";
import { gsm8k } from "./gsm8k.js";
import { math500 } from "./math500.js";
import { mawps } from "./mawps.js";
import { svamp } from "./svamp.js";

/** The data sets that can be named. To add one: a file beside these and a line here. */
export const datasets: Readonly<Record<string, DatasetSpec>> = { gsm8k, svamp, mawps, math500, aime24, amc23 };
