import { homedir } from "node:os";
import { join } from "node:path";

/**
 * Every environment variable that this package reads. They share the prefix TINYLORA_, but for those that all programs
 * name alike. One more is read by native code (native/cuda/driver.cpp): TINYLORA_CUDA_DRIVER, a file to open instead of
 * libcuda.so.1.
 */
export interface Environment {
  /** Model to use when none is named. */
  readonly model: string | undefined;
  /** Folder of the data sets. */
  readonly data: string | undefined;
  /** Folder for what can be had again: SVDs, files from the hub. */
  readonly cache: string | undefined;
  /** Path of a tinylora.node to load instead of the one that was built or shipped. */
  readonly addon: string | undefined;
  /**
   * Where the Hugging Face hub is (HF_ENDPOINT), the token for it (HF_TOKEN), whether to ask it nothing (HF_HUB_OFFLINE),
   * and the seconds that it may be silent (HF_HUB_DOWNLOAD_TIMEOUT, 10 when not given).
   */
  readonly hub: {
    readonly url: string | undefined;
    readonly token: string | undefined;
    readonly offline: boolean;
    readonly timeout: number;
  };
}

export function environment(variables: NodeJS.ProcessEnv = process.env): Environment {
  const read = (name: string) => variables[`TINYLORA_${name}`] || undefined;
  const hub = {
    url: variables.HF_ENDPOINT?.replace(/\/+$/, "") || undefined,
    token: variables.HF_TOKEN || undefined,
    timeout: secondsOf(variables.HF_HUB_DOWNLOAD_TIMEOUT) ?? 10,
    offline: /^(?:1|true|yes|on)$/i.test(variables.HF_HUB_OFFLINE ?? ""),
  };
  return { model: read("MODEL"), data: read("DATA"), cache: read("CACHE"), addon: read("ADDON"), hub };
}

/** What the environment says of a run's options: files and flags come over it. */
export function environmentOptions(): { readonly model?: string | undefined } {
  return { model: environment().model };
}

/** A positive number of at most a day; what is none does not count. */
function secondsOf(text: string | undefined): number | undefined {
  const seconds = Number(text);
  return seconds > 0 && seconds <= 86400 ? seconds : undefined;
}

/** TINYLORA_CACHE, else a folder in the user's cache. */
export function cacheFolder(): string {
  return environment().cache ?? join(process.env.XDG_CACHE_HOME || join(homedir(), ".cache"), "tinylora-native");
}
