/** config.json of a run's folder. */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { z } from "zod";
import { idleKeys, resolveConfig } from "../config/config.js";
import { METHODS, type Method } from "../config/method.js";
import type { TrainConfig } from "../config/schema.js";
import { TinyLoraError } from "../error.js";
import { readingIfThere, writeFileAtomic } from "../files.js";
import { packageVersion } from "../version.js";

/** Raised when a folder of an older run could not be read as it is any more. */
const FORMAT = 3;

export interface RunInfo {
  readonly method: Method;
  /** What computed it, "cpu (avx512-bf16)": other hardware has other last bits. */
  readonly arithmetic: string;
  readonly config: TrainConfig;
  /** Of the base model's weights, 16 hex digits. */
  readonly fingerprint: string;
  /** Trained numbers. */
  readonly parameters: number;
  /** Names of rewards that were functions of the program, of which no folder can keep more. */
  readonly ownRewards: readonly string[];
  /** Of the problems to train on (data/fingerprint.ts); null in runs that did not write it down yet. */
  readonly problems: string | null;
  /** Of its prompts (train/prompt-fingerprint.ts); null likewise. */
  readonly prompt: string | null;
}

const infoSchema = z.object({
  format: z.number(),
  package_version: z.string(),
  method: z.enum(METHODS),
  arithmetic: z.string(),
  fingerprint: z.string(),
  parameters: z.int(),
  own_rewards: z.array(z.string()).default([]),
  problems: z.string().nullable().default(null),
  prompt: z.string().nullable().default(null),
  config: z.record(z.string(), z.unknown()),
});

export async function writeRunInfo(run: string, { ownRewards, config, ...others }: RunInfo): Promise<void> {
  const info: z.infer<typeof infoSchema> = {
    format: FORMAT,
    package_version: packageVersion(),
    ...others,
    own_rewards: [...ownRewards],
    config,
  };
  await writeFileAtomic(fileOf(run), `${JSON.stringify(info, null, 2)}\n`);
}

/** ERR_RUN where the folder holds no run. */
export async function readRunInfo(run: string): Promise<RunInfo> {
  const info = await readRunInfoIfThere(run);
  if (info !== null) return info;
  throw new TinyLoraError("ERR_RUN", `${run}: expected the folder of a run, found no config.json in it`);
}

/** null where there is none; ERR_RUN where it is one of something else. */
export async function readRunInfoIfThere(run: string): Promise<RunInfo | null> {
  const file = fileOf(run);
  const text = await readingIfThere<string | null>(file, () => readFile(file, "utf8"), null);
  if (text === null) return null;
  let parsed: z.infer<typeof infoSchema>;
  try {
    parsed = infoSchema.parse(JSON.parse(text));
  } catch (cause) {
    throw new TinyLoraError("ERR_RUN", `${file}: not the config of a run`, { cause });
  }
  if (parsed.format !== FORMAT) {
    throw new TinyLoraError("ERR_RUN", `${file}: expected format ${FORMAT}, found ${parsed.format}`);
  }
  const { format: _, package_version: __, own_rewards: ownRewards, ...others } = parsed;
  // Of an older run these may be options that were not refused when it began.
  const idle = idleKeys(parsed.config);
  const config = Object.fromEntries(Object.entries(parsed.config).filter(([key]) => !idle.includes(key)));
  return { ...others, ownRewards, config: resolveConfig(config, file) };
}

function fileOf(run: string): string {
  return join(run, "config.json");
}
