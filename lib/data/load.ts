/** From the name of a data set or a file to examples. */
import { existsSync, statSync } from "node:fs";
import { dirname, extname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { environment } from "../config/env.js";
import { nearest } from "../config/nearest.js";
import { TinyLoraError } from "../error.js";
import { EMBEDDED, embeddedFolder } from "../find-model.js";
import { datasets } from "./datasets.js";
import { type DatasetSpec, type Example, field, type Split } from "./example.js";
import { type Row, readRows } from "./rows.js";
import { heldOut } from "./split.js";

/** Both parts of a data set; `train` is empty where a set is only for evaluation. */
export interface Dataset {
  readonly name: string;
  readonly train: Example[];
  readonly test: Example[];
}

/**
 * Loads a data set by name, or a .jsonl / .json file with `question` (or `prompt`, `problem`, `input`) and `answer` (or
 * `target`) in each row. A source without a split of its own is cut by {@link heldOut}.
 */
export async function loadDataset(source: string): Promise<Dataset> {
  if (source === EMBEDDED) return loadFile(join(embeddedFolder(), "problems.jsonl"));
  const spec = datasets[source];
  const dataset = spec ? await loadNamed(source, spec) : await loadFile(source);
  if (dataset.train.length + dataset.test.length > 0) return dataset;
  throw new TinyLoraError("ERR_DATA", `${source}: expected problems, found none`);
}

async function loadNamed(name: string, spec: DatasetSpec): Promise<Dataset> {
  const folder = dataFolder(Object.values(spec.files)[0]!);
  const read = async (split: Split) => {
    const file = spec.files[split];
    return file ? toExamples(`${name}/${split}`, await readRows(join(folder, file)), spec) : [];
  };
  const [train, test] = [await read("train"), await read("test")];
  return spec.files.train === spec.files.test ? cut(name, train) : { name, train, test };
}

async function loadFile(path: string): Promise<Dataset> {
  if (![".jsonl", ".json", ".ndjson"].includes(extname(path).toLowerCase())) {
    const hint = nearest(path, Object.keys(datasets));
    throw new TinyLoraError(
      "ERR_DATA",
      `data: expected a .jsonl or .json file or one of ${Object.keys(datasets).join(", ")}, ${EMBEDDED} (nearest: ${hint}), found "${path}"`,
    );
  }
  return cut(path, toExamples(path, await readRows(path), { files: {}, toProblem: anyProblem }));
}

function toExamples(prefix: string, rows: Row[], spec: DatasetSpec): Example[] {
  return rows.map(({ place, value }, index) => {
    try {
      return { id: `${prefix}/${index + 1}`, ...spec.toProblem(value), row: value };
    } catch (cause) {
      throw new TinyLoraError("ERR_DATA", `${place}: ${(cause as Error).message}`, { cause });
    }
  });
}

function cut(name: string, examples: Example[]): Dataset {
  const held = examples.map((example) => heldOut(example.question));
  return { name, train: examples.filter((_, i) => !held[i]), test: examples.filter((_, i) => held[i]) };
}

function anyProblem(row: Record<string, unknown>): { question: string; answer: string } {
  const question = ["question", "prompt", "problem", "input"].find((name) => name in row) ?? "question";
  const answer = ["answer", "target"].find((name) => name in row);
  const text = answer === undefined ? "" : field(row, answer);
  return { question: field(row, question), answer: text.split("####").at(-1)!.trim() };
}

/** TINYLORA_DATA, else ../shared/data seen from here or from this package. */
function dataFolder(file: string): string {
  const named = environment().data;
  const beside = join("..", "shared", "data");
  const candidates = named ? [resolve(named)] : [resolve(beside), resolve(packageFolder(), beside)];
  const found = candidates.find((folder) => existsSync(join(folder, file)));
  if (found) return found;
  throw new TinyLoraError(
    "ERR_DATA",
    `${file}: not found in ${[...new Set(candidates)].join(" or ")}; set TINYLORA_DATA to the folder of the data sets`,
  );
}

/** The nearest folder above this file with a package.json: the file lies in lib/ or in dist/lib/. */
function packageFolder(): string {
  let folder = dirname(fileURLToPath(import.meta.url));
  while (!statSync(join(folder, "package.json"), { throwIfNoEntry: false }) && dirname(folder) !== folder) {
    folder = dirname(folder);
  }
  return folder;
}
