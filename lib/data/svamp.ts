import { field } from "./columns.js";
import type { DatasetSpec } from "./example.js";

/** One-step word problems with numbers that are not needed. */
export const svamp: DatasetSpec = {
  files: { train: "svamp/SVAMP.json", test: "svamp/SVAMP.json" },
  hub: { repo: "ChilleD/SVAMP", train: /train/, test: /test/ },
  toProblem(row) {
    const body = field(row, "Body");
    const stop = /[.?!,]$/.test(body) ? "" : ",";
    return { question: `${body}${stop} ${field(row, "Question")}`, answer: field(row, "Answer") };
  },
};
