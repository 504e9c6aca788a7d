/**
 * Counting in a process of its own, on a stand-in for the driver that poses as one compute capability: it reads its
 * settings when it is opened, so each capability takes a process.
 */
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** What `answer` in the script at this path makes of `wanted`, as compute capability 8.0 (80) or 9.0 (90). */
export function countInProcess<Counts>(script: string, architecture: 80 | 90, wanted: unknown): Counts {
  const folder = mkdtempSync(join(tmpdir(), "counts-"));
  const file = join(folder, "counts.json");
  try {
    const { status } = spawnSync(process.execPath, ["--import", "tsx", script, file, JSON.stringify(wanted)], {
      stdio: ["ignore", "inherit", "inherit"],
      env: { ...process.env, CUDASIM_ARCH: String(architecture), CUDASIM_MULTIPROCESSORS: "" },
    });
    if (status !== 0) throw new Error(`counting as sm_${architecture} failed: its message is above`);
    return JSON.parse(readFileSync(file, "utf8")) as Counts;
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** The other end of it. Does nothing where the script at this path was only imported. */
export async function answer<Wanted>(script: string, count: (wanted: Wanted) => Promise<unknown>): Promise<void> {
  const [, started, file, wanted] = process.argv;
  if (started === script) writeFileSync(file!, JSON.stringify(await count(JSON.parse(wanted!) as Wanted)));
}
