/** From the name of a data set, a file or an address on the hub to examples. */
import { existsSync } from "node:fs";
import { readdir } from "node:fs/promises";
import { extname, join, resolve } from "node:path";
import { EMBEDDED } from "../config/embedded.js";
import { environment } from "../config/env.js";
import { nearest } from "../config/nearest.js";
import { TinyLoraError } from "../error.js";
import { embeddedFolder } from "../find-model.js";
import { inTurn } from "../in-turn.js";
import { checkOptionNames } from "../option-names.js";
import { packageRoot } from "../version.js";
import { guarded, leavingOut, type OnBroken } from "./broken.js";
import { anyProblem, type Columns } from "./columns.js";
import { datasets } from "./datasets.js";
import type { DatasetSpec, Example, Problem, Split } from "./example.js";
import { type HubOptions, hubFiles } from "./hub.js";
import { isHubSource, parseHubSource } from "./hub-source.js";
import { DATA_EXTENSIONS, isDataFile, type Row, readRows } from "./rows.js";
import { heldOut } from "./split.js";

/** Both parts of a data set; `train` is empty where a set is only for evaluation. */
export interface Dataset {
  readonly name: string;
  readonly train: readonly Example[];
  readonly test: readonly Example[];
  /** Whether the source has no split of its own, and {@link heldOut} chose what is in `test`. */
  readonly cut?: boolean;
  /** The source of `test`, where that is another one. */
  readonly testOf?: string;
  /** What was wrong with the rows that `skip_bad` left out. */
  readonly skipped?: readonly string[];
}

export interface DatasetOptions extends Partial<Columns>, HubOptions {
  /** Leave broken rows out and count them. Without it the first one is an error. */
  readonly skip_bad?: boolean | undefined;
}

const OPTION_NAMES = {
  question_column: true,
  answer_column: true,
  skip_bad: true,
  signal: true,
  onProgress: true,
} satisfies Record<keyof DatasetOptions, true>;

/**
 * Loads a data set by name, a .jsonl, .json, .csv, .tsv or .parquet file, or hf://datasets/owner/name[/path]. Rows hold
 * `question` (or `prompt`, `problem`, `input`) and `answer` (or `target`, ...), unless the options name the columns.
 * A source without a split of its own is cut by {@link heldOut}. Rejects with ERR_DATA where rows are not problems,
 * ERR_FILE where a file cannot be read, ERR_HUB where the hub does not give it.
 *
 * @example await loadDataset("problems.csv", { question_column: "text", answer_column: "result", skip_bad: true })
 */
export async function loadDataset(source: string, options: DatasetOptions = {}): Promise<Dataset> {
  checkOptionNames("options", options, OPTION_NAMES);
  options.signal?.throwIfAborted();
  const skipped: string[] = [];
  const parts = await load(source, new Reader(options, leavingOut(options.skip_bad, skipped)), options);
  if (parts.train.length + parts.test.length > 0) return { name: source, ...parts, skipped };
  const bad = skipped.length > 0 ? `${skipped.length} broken rows and no other: ${skipped[0]}` : "none";
  throw new TinyLoraError("ERR_DATA", `${source}: expected problems, found ${bad}`);
}

/** Whether it is a set that this package knows by name, with columns of its own. */
export function isNamed(source: string): boolean {
  return source === EMBEDDED || Object.hasOwn(datasets, source);
}

/** Whether a data set would be fetched from the hub (or its cache): it lies in no file here. */
export function isOnHub(source: string): boolean {
  const spec = Object.hasOwn(datasets, source) ? datasets[source] : undefined;
  if (!spec) return isHubSource(source);
  return spec.hub !== undefined && !findFile(spec.files.train) && !findFile(spec.files.test);
}

type Parts = Record<Split, Example[]> & { readonly cut?: boolean };

async function load(source: string, reader: Reader, options: DatasetOptions): Promise<Parts> {
  if (source === EMBEDDED) return reader.readCut(source, [join(embeddedFolder(), "problems.jsonl")]);
  const spec = Object.hasOwn(datasets, source) ? datasets[source] : undefined;
  if (spec) return loadNamed(source, spec, reader, options);
  if (isHubSource(source)) return loadFromHub(source, reader, options);
  if (isDataFile(source)) return reader.readCut(source, [source]);
  const names = [...Object.keys(datasets), EMBEDDED];
  throw new TinyLoraError(
    "ERR_DATA",
    `data: expected a file (${DATA_EXTENSIONS.join(", ")}), hf://datasets/owner/name or one of ${names.join(", ")} (nearest: ${nearest(source, names)}), found ${await described(source)}`,
  );
}

/** What a source that is no data set is. */
async function described(source: string): Promise<string> {
  const inside = await readdir(source).catch(() => undefined);
  if (!inside) return `"${source}"`;
  const files = inside.filter(isDataFile).sort().slice(0, 5);
  return `the folder "${source}"${files.length > 0 ? `, which holds ${files.join(", ")}` : ""}`;
}

async function loadNamed(name: string, spec: DatasetSpec, reader: Reader, options: DatasetOptions): Promise<Parts> {
  const toProblem = spec.toProblem.bind(spec);
  const local = { train: findFile(spec.files.train), test: findFile(spec.files.test) };
  if (local.train !== undefined && local.train === local.test) {
    return reader.readCut(name, [local.train], toProblem);
  }
  if (local.train ?? local.test) {
    const read = (split: Split) => (local[split] ? reader.read(`${name}/${split}`, [local[split]], toProblem) : []);
    return { train: await read("train"), test: await read("test") };
  }
  if (!spec.hub) throw notFound(spec);
  const { repo } = spec.hub;
  const read = async (split: Split) => {
    const pattern = spec.hub?.[split];
    if (!pattern) return [];
    const files = await hubFiles({ repo, revision: "main", path: "" }, (path) => pattern.test(path), options).catch(
      (cause) => {
        if (!(cause instanceof TinyLoraError)) throw cause;
        throw new TinyLoraError(cause.code, `${name}: ${notFound(spec).message}; from the hub: ${cause.message}`, {
          cause,
        });
      },
    );
    return reader.read(
      `${name}/${split}`,
      files.map((file) => file.local),
      toProblem,
    );
  };
  return { train: await read("train"), test: await read("test") };
}

/** Files with "test" in their path are for testing, where others are not. */
async function loadFromHub(source: string, reader: Reader, options: DatasetOptions): Promise<Parts> {
  const parsed = parseHubSource(source);
  const files = await hubFiles(
    parsed,
    (path) => !/(?:^|[/_.-])(?:validation|val|dev)\b/.test(path) || path === parsed.path,
    options,
  );
  const isTest = (path: string) => /(?:^|[/_.-])test\b/.test(path);
  const locals = (test: boolean) => files.filter(({ path }) => isTest(path) === test).map(({ local }) => local);
  if (files.length === 0)
    throw new TinyLoraError("ERR_DATA", `${source}: expected files (${DATA_EXTENSIONS.join(", ")}), found none`);
  const [train, test] = [locals(false), locals(true)];
  if (test.length === 0) return reader.readCut(source, train);
  return { train: await reader.read(`${source}/train`, train), test: await reader.read(`${source}/test`, test) };
}

/** Turns rows into examples, with the columns that were asked for over those that a set has of its own. */
class Reader {
  #columns: Columns;
  #onBroken: OnBroken;
  #signal: AbortSignal | undefined;

  constructor({ question_column = null, answer_column = null, signal }: DatasetOptions, onBroken: OnBroken) {
    this.#signal = signal;
    this.#columns = { question_column, answer_column };
    this.#onBroken = onBroken;
  }

  async read(prefix: string, paths: readonly string[], toProblem?: (row: Row["value"]) => Problem): Promise<Example[]> {
    const mapped = this.#columns.question_column !== null || this.#columns.answer_column !== null;
    const rowToProblem = toProblem && !mapped ? toProblem : (row: Row["value"]) => anyProblem(row, this.#columns);
    const rows: Row[] = [];
    for (const path of paths) for (const row of await readRows(path, this.#onBroken, this.#signal)) rows.push(row);
    const toExample = ({ place, value }: Row, index: number) =>
      guarded(this.#onBroken, (): Example => {
        try {
          return { id: `${prefix}/${index + 1}`, ...rowToProblem(value), row: value };
        } catch (cause) {
          throw new TinyLoraError("ERR_DATA", `${place}: ${(cause as Error).message}`, { cause });
        }
      });
    return (await inTurn(rows, toExample, { signal: this.#signal })).flat();
  }

  /** Both parts of a source without a split of its own. */
  async readCut(prefix: string, paths: readonly string[], toProblem?: (row: Row["value"]) => Problem): Promise<Parts> {
    const examples = await this.read(prefix, paths, toProblem);
    const held = await inTurn(examples, ({ question }) => heldOut(question), { signal: this.#signal });
    return { train: examples.filter((_, i) => !held[i]), test: examples.filter((_, i) => held[i]), cut: true };
  }
}

/** A file of the data folder, under its own extension or another. */
function findFile(file: string | undefined): string | undefined {
  if (file === undefined) return undefined;
  const stem = file.slice(0, -extname(file).length);
  const names = [file, ...DATA_EXTENSIONS.map((extension) => stem + extension)];
  return dataFolders()
    .flatMap((folder) => names.map((name) => join(folder, name)))
    .find((path) => existsSync(path));
}

function notFound({ files }: DatasetSpec): TinyLoraError {
  const folders = [...new Set(dataFolders())].join(" or ");
  return new TinyLoraError(
    "ERR_DATA",
    `${Object.values(files)[0]}: not found in ${folders}; set TINYLORA_DATA to the folder of the data sets`,
  );
}

/** TINYLORA_DATA, else ../shared/data seen from here or from this package. */
function dataFolders(): string[] {
  const named = environment().data;
  const beside = join("..", "shared", "data");
  return named ? [resolve(named)] : [resolve(beside), resolve(packageRoot(), beside)];
}
