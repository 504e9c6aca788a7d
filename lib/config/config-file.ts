import { readFile, stat } from "node:fs/promises";
import { extname } from "node:path";
import { isScalar, LineCounter, parseDocument, visit, YAMLError } from "yaml";
import { TinyLoraError, whyNot } from "../error.js";
import { checkObject } from "./config.js";

/** Bytes of a config file, and lists and mappings that it may begin. */
const [LARGEST, MOST_BEGUN] = [2 ** 20, 1000];

/** The options in a YAML or JSON file, as written: not yet validated. */
export async function readConfigFile(path: string): Promise<Record<string, unknown>> {
  const kind = extname(path).toLowerCase();
  if (![".yaml", ".yml", ".json"].includes(kind)) {
    throw new TinyLoraError("ERR_CONFIG", `${path}: expected a .yaml, .yml or .json file`);
  }
  let text: string;
  try {
    const { size } = await stat(path);
    if (size > LARGEST) {
      throw new TinyLoraError("ERR_CONFIG", `${path}: expected at most ${LARGEST} bytes, found ${size}`);
    }
    text = (await readFile(path, "utf8")).replace(/^\uFEFF/, "");
  } catch (cause) {
    if (cause instanceof TinyLoraError) throw cause;
    throw new TinyLoraError("ERR_FILE", `${path}: cannot be read (${whyNot(cause)})`, { cause });
  }
  const value = parse(path, text, kind === ".json");
  if (value === null || value === undefined) return {};
  checkObject(value, path);
  return value;
}

function parse(path: string, text: string, isJson: boolean): unknown {
  try {
    const value: unknown = isJson ? JSON.parse(text) : undefined;
    checkNesting(path, text);
    const lines = new LineCounter();
    // Its own check of keys is quadratic, and its warnings are errors here; else it would print some by itself.
    const document = parseDocument(text, { uniqueKeys: false, logLevel: "error", lineCounter: lines });
    const [fault] = [...document.errors, ...document.warnings];
    if (fault && !isJson) throw fault;
    checkKeys(path, document, lines);
    return isJson ? value : document.toJS();
  } catch (cause) {
    if (cause instanceof TinyLoraError) throw cause;
    const where = cause instanceof YAMLError ? `line ${cause.linePos?.[0].line}: ` : "";
    throw new TinyLoraError("ERR_CONFIG", `${path}: ${where}${reasonOf(cause as Error)}`, { cause });
  }
}

function reasonOf(cause: Error): string | undefined {
  if (cause instanceof YAMLError && cause.code === "MULTIPLE_DOCS") return "expected one document, found another";
  return cause.message.split("\n")[0]?.replace(/ at line \d+, column \d+:?$/, "");
}

/** Of a key that comes twice in a mapping the parsers of JSON take the last one without a word. */
function checkKeys(path: string, document: ReturnType<typeof parseDocument>, lines: LineCounter): void {
  visit(document, {
    Map(_, { items }) {
      const seen = new Map<string, number>();
      for (const { key } of items) {
        if (!isScalar(key)) continue;
        const name = String(key.value);
        const { line } = lines.linePos(key.range![0]);
        const first = seen.get(name);
        if (first !== undefined) {
          throw new TinyLoraError("ERR_CONFIG", `${path}: line ${line}: ${name} is there already, in line ${first}`);
        }
        seen.set(name, line);
      }
    },
  });
}

/** The parser of YAML takes a piece of stack for each list in a list, and ends the process where there is none left. */
function checkNesting(path: string, text: string): void {
  const begun = text.match(/[[{]/g)?.length ?? 0;
  if (begun <= MOST_BEGUN && !/^[ \t]*(?:[-?:][ \t]+){101}/m.test(text)) return;
  throw new TinyLoraError(
    "ERR_CONFIG",
    `${path}: expected at most ${MOST_BEGUN} lists and mappings, and 100 in one another, found more`,
  );
}
