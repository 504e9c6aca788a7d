/**
 * Data files from the Hugging Face hub. A file is fetched once for each commit of its repository, into a part file that
 * the next try goes on with, checked against the hash that the hub gives, and only then named as the file. Without a
 * network the newest commit seen so far is used.
 */
import { createWriteStream } from "node:fs";
import { readFile, rename, rm } from "node:fs/promises";
import { dirname, join } from "node:path";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { setTimeout as sleep } from "node:timers/promises";
import { z } from "zod";
import { cacheFolder, environment } from "../config/env.js";
import { TinyLoraError } from "../error.js";
import { makeFolder, syncPath, writeFileAtomic, writing } from "../files.js";
import { follower } from "../native/on-abort.js";
import { limited } from "./hub-answer.js";
import { failed, hubError, isOutage, isRefusal } from "./hub-error.js";
import { HUB_PREFIX, type HubSource } from "./hub-source.js";
import { hashOf, sizeOf } from "./part-file.js";
import { isDataFile, LARGEST } from "./rows.js";

export interface HubOptions {
  /** Ends what is being fetched: the call rejects with its reason. */
  readonly signal?: AbortSignal | undefined;
  /** Bytes of the file that is being fetched, of all it has. What it throws ends that and is what the call rejects with. */
  readonly onProgress?: ((done: number, total: number) => void) | undefined;
}

interface HubFile {
  readonly path: string;
  readonly size: number;
  /** SHA-256 of a large file, or git's hash (SHA-1 with a header) of another. */
  readonly hash: string;
}

const COMMIT = /^[0-9a-f]{40}$/;
const TRIES = 4;
/** Files of a repository. */
const MOST_FILES = 100_000;

/** The local paths of a repository's data files whose path is wanted, in the order of their paths. */
export async function hubFiles(
  source: HubSource,
  wanted: (path: string) => boolean,
  options: HubOptions,
): Promise<{ path: string; local: string }[]> {
  const hub = new Hub(source, options);
  const commit = await hub.commit();
  const files = (await hub.list(commit)).filter(({ path }) => isDataFile(path) && wanted(path));
  const local: { path: string; local: string }[] = [];
  for (const file of files) local.push({ path: file.path, local: await hub.fetch(commit, file) });
  return local;
}

class Hub {
  #source: HubSource;
  #options: HubOptions;
  #folder: string;
  #address: string;
  /** What `onProgress` threw: that is no failure of the hub's. */
  #thrown: { readonly error: unknown } | undefined;
  #settings = environment().hub;

  constructor(source: HubSource, options: HubOptions) {
    this.#source = source;
    this.#options = options;
    this.#address = `${HUB_PREFIX}${source.repo}@${source.revision}`;
    this.#folder = join(cacheFolder(), "hub", `datasets--${source.repo.replace("/", "--")}`);
  }

  /** The commit that the revision names now, or named when it was last asked for. */
  async commit(): Promise<string> {
    const { revision } = this.#source;
    if (COMMIT.test(revision)) return revision;
    const reference = join(this.#folder, "refs", revision);
    const kept = await readFile(reference, "utf8").catch(() => "");
    const known = COMMIT.test(kept.trim()) ? kept.trim() : null;
    if (this.#settings.offline && known !== null) return known;
    return this.#trying(async () => {
      try {
        const sha = await this.#askForCommit();
        if (known !== sha) await writeFileAtomic(reference, sha);
        return sha;
      } catch (error) {
        if (known !== null && isOutage(error)) return known;
        throw error;
      }
    });
  }

  async #askForCommit(): Promise<string> {
    const { datasetInfo } = await this.#client();
    const { repo: name, revision } = this.#source;
    const { sha } = await datasetInfo({ ...this.#access(), name, revision, additionalFields: ["sha"] });
    if (!COMMIT.test(sha)) throw failed(`expected a commit, found ${JSON.stringify(sha)}`);
    return sha;
  }

  async list(commit: string): Promise<HubFile[]> {
    const index = join(this.#folder, commit, ".files.json");
    const known = await readFile(index, "utf8").then(parseList, () => null);
    const files = known ?? (await this.#trying(() => this.#askForList(commit)));
    if (!known && files.length > 0) await writeFileAtomic(index, JSON.stringify(files));
    const { path } = this.#source;
    const found = files.filter((file) => path === "" || file.path === path || file.path.startsWith(`${path}/`));
    if (path !== "" && found.length === 0) throw this.#failure(failed(`it has no ${path}`));
    return found;
  }

  async #askForList(commit: string): Promise<HubFile[]> {
    const { listFiles } = await this.#client();
    const files: HubFile[] = [];
    for await (const entry of listFiles({
      ...this.#access(),
      repo: this.#repo(),
      revision: commit,
      recursive: true,
    })) {
      const hash = entry.lfs?.oid ?? entry.oid;
      if (entry.type !== "file" || hash === undefined) continue;
      if (files.length >= MOST_FILES) throw failed(`expected at most ${MOST_FILES} files, found more`);
      if (leaves(entry.path)) throw failed(`a file is named ${entry.path}`);
      files.push({ path: entry.path, size: entry.size, hash });
    }
    return files.sort((a, b) => (a.path < b.path ? -1 : 1));
  }

  /** The file on this machine, fetched if it is not there. */
  async fetch(commit: string, file: HubFile): Promise<string> {
    const local = join(this.#folder, commit, file.path);
    if ((await sizeOf(local)) === file.size) return local;
    if (file.size > LARGEST)
      throw this.#failure(failed(`expected a file of at most ${LARGEST} bytes, found ${file.size}`), file);
    const part = `${local}.part`;
    await writing(local, () => makeFolder(dirname(local)));
    await this.#trying(async () => {
      await writing(part, () => this.#download(commit, file, part));
      if ((await hashOf(part, file)) === file.hash) return;
      await rm(part, { force: true });
      throw failed("the bytes that came do not have the hash that the hub gives");
    }, file);
    await writing(local, async () => {
      await syncPath(part); // a file under its own name is whole, after a loss of power too
      await rename(part, local);
    });
    return local;
  }

  /** Adds what is missing to a part file. */
  async #download(commit: string, file: HubFile, part: string): Promise<void> {
    let have = (await sizeOf(part)) ?? 0;
    if (have > file.size) {
      await rm(part);
      have = 0;
    }
    if (have === file.size) return;
    const { downloadFile } = await this.#client();
    const stalled = follower(this.#options.signal);
    let timer: NodeJS.Timeout | undefined;
    const alive = () => {
      clearTimeout(timer);
      timer = setTimeout(() => stalled.abort(silence()), 1000 * this.#settings.timeout);
    };
    alive();
    try {
      const blob = await downloadFile({
        ...this.#access(stalled.signal),
        repo: this.#repo(),
        path: file.path,
        revision: commit,
        xet: false,
      });
      if (!blob) throw failed("the hub has no such file");
      if (blob.size !== file.size) throw failed(`expected ${file.size} bytes, found ${blob.size}`);
      const body = Readable.fromWeb(blob.slice(have).stream() as Parameters<typeof Readable.fromWeb>[0]);
      const tell = (done: number) => this.#tell(done, file.size);
      const counted = async function* (chunks: AsyncIterable<Uint8Array>) {
        for await (const chunk of chunks) {
          alive();
          have += chunk.byteLength;
          if (have > file.size) throw failed(`expected ${file.size} bytes, found more`);
          tell(have);
          yield chunk;
        }
      };
      await pipeline(body, counted, createWriteStream(part, { flags: "a" }), { signal: stalled.signal });
    } catch (error) {
      throw stalled.signal.aborted ? stalled.signal.reason : error; // a pipeline tells of the abort, not of its reason
    } finally {
      clearTimeout(timer);
      stalled.abort(); // it is over: nothing listens to `signal` any more
    }
    if (have !== file.size) throw failed(`it ended after ${have} of ${file.size} bytes`);
  }

  #tell(done: number, total: number): void {
    try {
      this.#options.onProgress?.(done, total);
    } catch (error) {
      this.#thrown = { error };
      throw error;
    }
  }

  /** What the hub is asked for, once more after a failure that may pass. */
  async #trying<T>(ask: () => Promise<T>, file?: HubFile): Promise<T> {
    const { signal } = this.#options;
    for (let attempt = 1; ; attempt++) {
      try {
        return await ask();
      } catch (error) {
        signal?.throwIfAborted();
        if (this.#thrown) throw this.#thrown.error;
        if (attempt === TRIES || this.#settings.offline || isRefusal(error)) throw this.#failure(error, file);
        await sleep(50 * 4 ** attempt, undefined, signal ? { signal } : {});
      }
    }
  }

  #repo() {
    return { type: "dataset", name: this.#source.repo } as const;
  }

  /** `signal`: of a download; what is asked besides is short, and is to be answered in time. */
  #access(signal?: AbortSignal) {
    const { url, token, offline, timeout } = this.#settings;
    if (token !== undefined && !token.startsWith("hf_")) {
      throw new TinyLoraError("ERR_CONFIG", 'HF_TOKEN: expected a token of the hub, which begins with "hf_"');
    }
    const inTime = () => {
      const late = follower(this.#options.signal);
      setTimeout(() => late.abort(silence()), 1000 * timeout).unref();
      return late.signal;
    };
    return {
      ...(url ? { hubUrl: url } : {}),
      ...(token ? { accessToken: token } : {}),
      fetch: (async (input: Parameters<typeof fetch>[0], init?: RequestInit) => {
        if (offline) throw failed("it is not in the cache, and HF_HUB_OFFLINE is set");
        const response = await fetch(input, { ...init, signal: signal ?? inTime() });
        return signal ? response : limited(response);
      }) as typeof fetch,
    };
  }

  /** The client is large: it is loaded only where there is something to ask. */
  #client() {
    return import("@huggingface/hub");
  }

  #failure(error: unknown, file?: HubFile): Error {
    const { url, token, timeout: patience } = this.#settings;
    return hubError(error, {
      address: this.#address,
      url: url ?? "the hub",
      token: token !== undefined,
      patience,
      ...(file ? { file: file.path } : {}),
    });
  }
}

function silence(): DOMException {
  return new DOMException("no bytes", "TimeoutError");
}

/** Whether a path may lie outside the folder that it is put in. */
function leaves(path: string): boolean {
  return path.split("/").includes("..");
}

const listSchema = z.array(z.object({ path: z.string(), size: z.int().min(0), hash: z.string() }));

/** null where the list that was kept is none: it is asked for again. */
function parseList(text: string): HubFile[] | null {
  try {
    const list = listSchema.parse(JSON.parse(text));
    return list.some(({ path }) => leaves(path)) ? null : list;
  } catch {
    return null;
  }
}
