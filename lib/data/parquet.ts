import { fork } from "node:child_process";
import { join } from "node:path";
import { TinyLoraError } from "../error.js";
import { packageRoot } from "../version.js";
import type { Found } from "./parquet-process.js";
import type { Row } from "./rows.js";

/** MiB that the rows of a file may take, as they are read. */
const MEMORY = 2048;

/**
 * The rows of a Parquet file, read in a process of its own: a few bytes of a file may say a milliard values, and Node 20
 * ends a process, not a thread, where an array becomes too long. It also leaves the event loop free, and ends with the
 * signal.
 */
export async function parquetRows(path: string, signal?: AbortSignal): Promise<Row[]> {
  signal?.throwIfAborted();
  // The file that tsc has made, also where the sources run as they are.
  const child = fork(join(packageRoot(), "dist", "lib", "data", "parquet-process.js"), [path], {
    execArgv: [`--max-old-space-size=${MEMORY}`],
    serialization: "advanced",
    stdio: ["ignore", "ignore", "ignore", "ipc"],
  });
  const abort = () => void child.kill("SIGKILL");
  signal?.addEventListener("abort", abort);
  const rows: Row[] = [];
  let broken: string | undefined = `its reader ended: expected rows that fit in ${MEMORY} MiB`;
  child.on("message", (found: Found) => {
    if (found === "read") broken = undefined;
    else if ("broken" in found) broken = found.broken;
    else for (const value of found.rows) rows.push({ place: `${path}, row ${rows.length + 1}`, value });
  });
  try {
    await new Promise<void>((resolve, reject) => child.on("error", reject).on("close", () => resolve()));
  } finally {
    signal?.removeEventListener("abort", abort);
  }
  signal?.throwIfAborted();
  if (broken === undefined) return rows;
  throw new TinyLoraError("ERR_DATA", `${path}: broken Parquet file (${broken})`);
}
