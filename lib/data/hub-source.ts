import { TinyLoraError } from "../error.js";

/** What an address on the hub names. */
export interface HubSource {
  readonly repo: string;
  readonly revision: string;
  /** A file, or a folder of files; all of them when empty. */
  readonly path: string;
}

export const HUB_PREFIX = "hf://datasets/";

export function isHubSource(source: string): boolean {
  return source.startsWith("hf://");
}

/** hf://datasets/owner/name[@revision][/path], as other tools of the hub write it. ERR_DATA for anything else. */
export function parseHubSource(source: string): HubSource {
  const match = /^([\w.-]+\/[\w.-]+)(?:@([\w.-]+))?(?:\/(.*))?$/.exec(source.slice(HUB_PREFIX.length));
  if (!source.startsWith(HUB_PREFIX) || !match || source.includes("..")) {
    throw new TinyLoraError("ERR_DATA", `data: expected ${HUB_PREFIX}owner/name[@revision][/path], found "${source}"`);
  }
  return { repo: match[1]!, revision: match[2] ?? "main", path: match[3] ?? "" };
}
