/**
 * A checkpoint is a folder checkpoints/step-N with state.json (everything training goes on from, with a checksum) and
 * the adapter's files, or the weights' with their moments. It is written under another name, flushed, and renamed: it is
 * there whole, or not at all.
 */
import { createHash } from "node:crypto";
import { type FileHandle, open, readdir, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import { z } from "zod";
import { TinyLoraError } from "../error.js";
import {
  isMissing,
  isRefusal,
  makeFolder,
  reading,
  readingIfThere,
  syncPath,
  writeFileAtomic,
  writing,
} from "../files.js";
import type { TrainState } from "../train/state.js";

const stateSchema = z.strictObject({
  step: z.int().min(0),
  tokens: z.int().min(0),
  updates: z.int().min(0),
  /** Little-endian bytes in base64: fp32, and fp64 for the others. */
  master: z.string(),
  moments: z.array(z.string()),
  last_gradient: z.string().nullable(),
});
const fileSchema = z.strictObject({ sha256: z.string(), state: z.unknown() });

export async function writeCheckpoint(
  folder: string,
  state: TrainState,
  keep: number,
  saveRest: (folder: string) => Promise<void>,
): Promise<void> {
  const target = join(folder, `step-${state.step}`);
  if (!(await checkpointSteps(folder)).includes(state.step)) {
    await writing(target, async () => {
      const temporary = join(folder, `.step-${state.step}.${process.pid}`);
      try {
        await makeFolder(temporary);
        await saveRest(temporary);
        await writeFileAtomic(join(temporary, "state.json"), `${JSON.stringify(encodeState(state), null, 2)}\n`);
        await rename(temporary, target);
      } catch (error) {
        await rm(temporary, { recursive: true, force: true });
        throw error;
      }
      await syncPath(folder);
    });
  }
  await keepNewest(folder, keep);
}

/** Removes all but this many. */
export async function keepNewest(folder: string, keep: number): Promise<void> {
  for (const step of (await checkpointSteps(folder)).slice(keep)) await removeCheckpoint(folder, step);
}

/** Steps that have a checkpoint, newest first. */
export async function checkpointSteps(folder: string): Promise<number[]> {
  const names = await namesIn(folder);
  const steps = names.flatMap((name) => /^step-(0|[1-9]\d{0,14})$/.exec(name)?.[1] ?? []).map(Number);
  return steps.sort((a, b) => b - a);
}

/**
 * The newest checkpoint that is whole, and that `loadRest` takes. Those whose content is bad (ERR_CHECKPOINT) are passed
 * over, with a warning that names them. Any other error is no proof that a checkpoint is bad and ends the search: a file
 * that cannot be read now may be read the next time.
 */
export async function latestCheckpoint(
  folder: string,
  warn: (message: string) => void,
  loadRest: (state: TrainState, folder: string) => Promise<void>,
): Promise<TrainState | null> {
  for (const step of await checkpointSteps(folder)) {
    try {
      const state = await readCheckpoint(folder, step);
      await loadRest(state, join(folder, `step-${step}`));
      return state;
    } catch (error) {
      if (!(error instanceof TinyLoraError && error.code === "ERR_CHECKPOINT")) throw notLoaded(folder, step, error);
      warn(error.message);
    }
  }
  return null;
}

function notLoaded(folder: string, step: number, cause: unknown): TinyLoraError {
  const { message } = cause as Error;
  const code = cause instanceof TinyLoraError ? cause.code : "ERR_RUN";
  const kept = `checkpoint step-${step} is not proven bad and all is kept: resume again when this is mended`;
  return new TinyLoraError(code, `${folder}: ${message}; ${kept}`, { cause });
}

/**
 * What `read` gives of a file of a checkpoint. ERR_CHECKPOINT where it is not there: a checkpoint appears with all its
 * files.
 */
export function readingCheckpoint<T>(path: string, read: (file: FileHandle) => Promise<T>): Promise<T> {
  const missing = (cause?: unknown) =>
    new TinyLoraError("ERR_CHECKPOINT", `${path}: not a whole checkpoint: no such file`, { cause });
  return reading(path, async () => {
    const file = await open(path, "r").catch((cause) => {
      throw isMissing(cause) ? missing(cause) : cause;
    });
    try {
      if (!(await file.stat()).isFile()) throw missing();
      return await read(file);
    } finally {
      await file.close();
    }
  });
}

/** What `decode` makes of a checkpoint's file. ERR_CHECKPOINT where it refuses the bytes. */
export async function decodeCheckpoint<T>(path: string, decode: () => T | Promise<T>): Promise<T> {
  try {
    return await decode();
  } catch (cause) {
    // No room for it, or a disk that refuses, which says nothing of the bytes.
    if (cause instanceof RangeError || isRefusal(cause)) throw cause;
    throw new TinyLoraError("ERR_CHECKPOINT", `${path}: not a whole checkpoint: ${(cause as Error).message}`, {
      cause,
    });
  }
}

function namesIn(folder: string): Promise<string[]> {
  return readingIfThere(folder, () => readdir(folder), []);
}

/** Takes away what a checkpoint's successors left: a resumed run writes them again. */
export async function removeCheckpointsAfter(folder: string, step: number): Promise<void> {
  for (const other of await checkpointSteps(folder)) if (other > step) await removeCheckpoint(folder, other);
}

/** Removes what killed processes have half written and half removed. */
export async function removeParts(folder: string): Promise<void> {
  const parts = (await namesIn(folder)).filter((name) => name.startsWith("."));
  await writing(folder, async () => {
    for (const name of parts) await rm(join(folder, name), { recursive: true, force: true });
  });
}

/** Renamed first, so that a checkpoint that is half removed is not found. */
async function removeCheckpoint(folder: string, step: number): Promise<void> {
  const path = join(folder, `step-${step}`);
  const aside = join(folder, `.removed-${step}.${process.pid}`);
  await writing(path, async () => {
    await rename(path, aside);
    await rm(aside, { recursive: true, force: true });
  });
}

async function readCheckpoint(folder: string, step: number): Promise<TrainState> {
  const path = join(folder, `step-${step}`, "state.json");
  const bytes = await readingCheckpoint(path, (file) => file.readFile());
  return decodeCheckpoint(path, () => {
    const state = decodeState(JSON.parse(bytes.toString("utf8")));
    if (state.step !== step) throw new Error(`expected step ${step}, found ${state.step}`);
    return state;
  });
}

/** What training goes on from, as JSON, with a checksum. */
export function encodeState({ step, tokens, optimizer, lastGradient }: TrainState): object {
  const state: z.infer<typeof stateSchema> = {
    step,
    tokens,
    updates: optimizer.updates,
    master: toBase64(optimizer.master, 4),
    moments: optimizer.moments.map((moment) => toBase64(moment, 8)),
    last_gradient: lastGradient && toBase64(lastGradient, 8),
  };
  return { sha256: checksum(state), state };
}

/** Throws where it is not whole. */
export function decodeState(encoded: unknown): TrainState {
  const file = fileSchema.safeParse(encoded);
  if (!file.success) throw new Error("expected a state and its checksum");
  if (checksum(file.data.state) !== file.data.sha256) throw new Error("the checksum does not fit");
  const state = stateSchema.safeParse(file.data.state);
  if (!state.success) throw new Error("its state is of another shape");
  return toState(state.data);
}

function toState(state: z.infer<typeof stateSchema>): TrainState {
  return {
    step: state.step,
    tokens: state.tokens,
    optimizer: {
      updates: state.updates,
      master: Float32Array.from(fromBase64(state.master, 4)),
      moments: state.moments.map((moment) => fromBase64(moment, 8)),
    },
    lastGradient: state.last_gradient === null ? null : fromBase64(state.last_gradient, 8),
  };
}

function checksum(state: unknown): string {
  return createHash("sha256").update(JSON.stringify(state)).digest("hex");
}

function toBase64(values: Float32Array | Float64Array, bytes: 4 | 8): string {
  const view = new DataView(new ArrayBuffer(values.length * bytes));
  values.forEach((value: number, i: number) => {
    if (bytes === 4) view.setFloat32(4 * i, value, true);
    else view.setFloat64(8 * i, value, true);
  });
  return Buffer.from(view.buffer).toString("base64");
}

function fromBase64(text: string, bytes: 4 | 8): Float64Array {
  const data = Buffer.from(text, "base64");
  const count = Math.floor(data.length / bytes);
  return Float64Array.from({ length: count }, (_, i) =>
    bytes === 4 ? data.readFloatLE(4 * i) : data.readDoubleLE(8 * i),
  );
}
