import { getEventListeners } from "node:events";
import { mkdir, mkdtemp, readdir, rm, stat, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { loadDataset } from "../../../lib/data/load.js";
import { HubServer } from "./hub-server.js";

/** What was waited between tries, in ms: no time passes, but in the wait that `meanwhile` is given for. */
const waits: number[] = [];
let meanwhile: (() => void) | undefined;
vi.mock("node:timers/promises", async (original) => {
  const timers = await original<typeof import("node:timers/promises")>();
  const setTimeout = (ms: number, ...rest: []) => {
    waits.push(ms);
    if (meanwhile === undefined || waits.length < 3) return timers.setTimeout(0, ...rest);
    setImmediate(meanwhile);
    return timers.setTimeout(HOUR, ...rest);
  };
  return { ...timers, setTimeout };
});
const HOUR = 3_600_000;

const lines = (from: number, count: number) =>
  Buffer.from(
    Array.from(
      { length: count },
      (_, i) => `${JSON.stringify({ question: `What is ${from + i}?`, answer: from + i })}\n`,
    ).join(""),
  );

let cache: string;
let server: HubServer;
beforeEach(async () => {
  cache = await mkdtemp(join(tmpdir(), "tinylora-hub-"));
  server = new HubServer();
  server.files = { "README.md": Buffer.from("# A set"), "train.jsonl": lines(0, 2000), "test.jsonl": lines(5000, 3) };
  server.large.add("train.jsonl");
  vi.stubEnv("HF_ENDPOINT", await server.start());
  vi.stubEnv("TINYLORA_CACHE", cache);
  vi.stubEnv("HF_TOKEN", "");
  vi.stubEnv("HF_HUB_OFFLINE", "");
});
afterEach(async () => {
  await server.stop();
  await rm(cache, { recursive: true });
  vi.unstubAllEnvs();
  vi.restoreAllMocks();
  waits.length = 0;
  meanwhile = undefined;
});

const SOURCE = "hf://datasets/owner/name";
/** Lets an hour without a byte go by when the server falls silent, and at no other time. */
function silenceIsLong(): void {
  vi.stubEnv("HF_HUB_DOWNLOAD_TIMEOUT", "3600");
  const later = setTimeout;
  const hourly = new Set<() => void>();
  vi.spyOn(globalThis, "setTimeout").mockImplementation(((call: () => void, ms?: number) => {
    if (ms === HOUR) hourly.add(call);
    return later(call, ms);
  }) as typeof setTimeout);
  server.onSilence = () => {
    for (const call of hourly) call();
    hourly.clear();
  };
}
/** Until so many bytes of a file are on this machine. */
const arrived = (file: string) => (size: number) =>
  vi.waitFor(
    async () => {
      const part = join(cache, "hub", "datasets--owner--name", server.commit, `${file}.part`);
      expect((await stat(part)).size).toBe(size);
    },
    { timeout: HOUR, interval: 5 },
  );
const stored = async () => (await readdir(cache, { recursive: true })).filter((path) => /jsonl/.test(path)).sort();

describe("a data set on the hub", () => {
  it("is fetched once for each commit, by its files' splits", async () => {
    const { train, test } = await loadDataset(SOURCE);
    expect([train.length, test.length]).toEqual([2000, 3]);
    expect(test[0]).toMatchObject({ id: `${SOURCE}/test/1`, question: "What is 5000?", answer: "5000" });
    expect(await stored()).toEqual(
      ["test.jsonl", "train.jsonl"].map((name) => `hub/datasets--owner--name/${server.commit}/${name}`),
    );
    server.requests.length = 0;
    await loadDataset(SOURCE);
    expect(server.requests).toEqual(["/api/datasets/owner/name/revision/main"]);
    server.commit = "b".repeat(40);
    server.files["test.jsonl"] = lines(6000, 4);
    expect((await loadDataset(SOURCE)).test).toHaveLength(4);
  });

  it("may have many files: none leaves a listener at the signal", async () => {
    for (let i = 0; i < 12; i++) server.files[`part-${i}.jsonl`] = lines(10 * i, 5);
    const warnings: string[] = [];
    const onWarning = ({ name }: Error) => warnings.push(name);
    process.on("warning", onWarning);
    const { train } = await loadDataset(SOURCE, { signal: new AbortController().signal });
    await new Promise((resolve) => setImmediate(resolve));
    process.off("warning", onWarning);
    expect(train.length).toBeGreaterThan(2000);
    expect(warnings).toEqual([]);
  });

  it("may be asked for again and again with one signal: it has one listener at most", async () => {
    const { signal } = new AbortController();
    for (let i = 0; i < 3; i++) await loadDataset(SOURCE, { signal });
    expect(getEventListeners(signal, "abort").length).toBeLessThan(2);
  });

  it("is one file or folder where the address names it, and a commit needs no question", async () => {
    server.files["more/a.jsonl"] = lines(10, 6);
    const one = await loadDataset(`${SOURCE}@${server.commit}/test.jsonl`);
    expect(one.train).toHaveLength(0);
    expect(one.test).toHaveLength(3);
    const folder = await loadDataset(`${SOURCE}/more`);
    expect(folder.train.length + folder.test.length).toBe(6);
    await expect(loadDataset(`${SOURCE}/nowhere`)).rejects.toThrow(/owner\/name@main: it has no nowhere/);
  });

  it("is read without a network once it is there", async () => {
    await loadDataset(SOURCE);
    vi.stubEnv("HF_HUB_OFFLINE", "1");
    server.requests.length = 0;
    expect((await loadDataset(SOURCE)).train).toHaveLength(2000);
    expect(server.requests).toEqual([]);
    vi.stubEnv("HF_HUB_OFFLINE", "");
    await server.stop();
    expect((await loadDataset(SOURCE)).train).toHaveLength(2000);
    await expect(loadDataset("hf://datasets/owner/other")).rejects.toThrow(
      /owner\/other@main: http:\/\/127.0.0.1:\d+ cannot be reached \(ECONNREFUSED\).*HF_ENDPOINT/,
    );
    vi.stubEnv("HF_HUB_OFFLINE", "1");
    await expect(loadDataset("hf://datasets/owner/other")).rejects.toThrow(
      /not in the cache, and HF_HUB_OFFLINE is set/,
    );
  });

  it("goes on where half a file came", async () => {
    server.cut = { bytes: 30_000, times: 2, after: arrived("train.jsonl") };
    expect((await loadDataset(`${SOURCE}/train.jsonl`)).train.length).toBeGreaterThan(1500);
    const ranges = server.requests.filter((request) => request.includes("/resolve/") && !request.endsWith("bytes=0-0"));
    const size = server.files["train.jsonl"]!.length;
    expect(ranges.map((request) => request.split(" ")[1])).toEqual([
      undefined,
      `bytes=30000-${size - 1}`,
      `bytes=60000-${size - 1}`,
    ]);
  });

  it("goes on in a later process, and starts anew where the part is no part of it", async () => {
    const folder = join(cache, "hub", "datasets--owner--name", server.commit);
    await loadDataset(`${SOURCE}/test.jsonl`);
    const whole = server.files["train.jsonl"]!;
    await writeFile(join(folder, "train.jsonl.part"), whole.subarray(0, 1000));
    await loadDataset(`${SOURCE}/train.jsonl`);
    expect(server.requests.some((request) => request.includes("bytes=1000-"))).toBe(true);
    await rm(join(folder, "train.jsonl"));
    await writeFile(join(folder, "train.jsonl.part"), Buffer.alloc(1000, "?"));
    await loadDataset(`${SOURCE}/train.jsonl`);
    expect((await stat(join(folder, "train.jsonl"))).size).toBe(whole.length);
    expect(await stored()).not.toContainEqual(expect.stringContaining(".part"));
  });

  it("is refused with other bytes than announced, by SHA-256 and by git's hash", async () => {
    server.corrupt = 1;
    expect((await loadDataset(`${SOURCE}/test.jsonl`)).test).toHaveLength(3);
    for (const file of ["train.jsonl", "test.jsonl"]) {
      await rm(join(cache, "hub"), { recursive: true, force: true });
      server.corrupt = 100;
      await expect(loadDataset(`${SOURCE}/${file}`)).rejects.toThrow(/do not have the hash that the hub gives/);
      expect(await stored()).toEqual([]);
    }
  });

  it("is not asked for again where it cannot be written", async () => {
    const part = join(cache, "hub", "datasets--owner--name", server.commit, "train.jsonl.part");
    await mkdir(part, { recursive: true });
    await expect(loadDataset(`${SOURCE}/train.jsonl`)).rejects.toMatchObject({
      code: "ERR_FILE",
      message: expect.stringMatching(/train\.jsonl\.part: cannot be written \(EISDIR/),
    });
    expect(new Set(server.requests).size).toBe(server.requests.length);
  });

  it.each<[string, "status" | "break"]>([
    ["is busy", "status"],
    ["breaks off", "break"],
  ])("is asked for again where the hub %s, whatever was asked: commit, list or file", async (_, how) => {
    for (const path of [/revision/, /tree/, /resolve/]) {
      await rm(join(cache, "hub"), { recursive: true, force: true });
      const asked = () => server.requests.filter((request) => path.test(request)).length;
      server.outage = { path, how, times: 0 };
      server.requests.length = 0;
      await loadDataset(`${SOURCE}/test.jsonl`);
      const usual = asked();

      await rm(join(cache, "hub"), { recursive: true });
      server.outage = { path, how, times: 3 };
      server.requests.length = 0;
      expect((await loadDataset(`${SOURCE}/test.jsonl`)).test).toHaveLength(3);
      expect(asked()).toBe(usual + 3);

      await rm(join(cache, "hub"), { recursive: true });
      server.outage = { path, how, times: 4 };
      await expect(loadDataset(`${SOURCE}/test.jsonl`)).rejects.toMatchObject({ code: "ERR_HUB" });
      server.requests.length = 0;
      expect((await loadDataset(`${SOURCE}/test.jsonl`)).test).toHaveLength(3);
    }
  });

  it("is asked for once where the hub refuses it or is not to be asked, and waits no longer than the signal", async () => {
    server.status = 404;
    await expect(loadDataset(SOURCE)).rejects.toThrow(/404/);
    expect(server.requests).toHaveLength(1);
    server.status = undefined;
    vi.stubEnv("HF_HUB_OFFLINE", "1");
    await expect(loadDataset(SOURCE)).rejects.toThrow(/HF_HUB_OFFLINE/);
    await expect(loadDataset(`${SOURCE}@${server.commit}`)).rejects.toThrow(/HF_HUB_OFFLINE/);
    expect(waits).toEqual([]);
    vi.stubEnv("HF_HUB_OFFLINE", "");
    server.status = 503;
    const controller = new AbortController();
    meanwhile = () => controller.abort();
    await expect(loadDataset(SOURCE, { signal: controller.signal })).rejects.toThrow(/abort/i);
    expect(waits).toEqual([200, 800, 3200]);
  });

  it("says what is wrong with a token that is none", async () => {
    vi.stubEnv("HF_TOKEN", "secret");
    await expect(loadDataset(SOURCE)).rejects.toThrow(/^HF_TOKEN: expected a token of the hub/);
    expect(server.requests).toEqual([]);
  });

  it.each([
    [401, /refuses it \(401\).*HF_TOKEN/],
    [404, /no such data set or revision \(404\)/],
    [403, /refuses it \(403\).*HF_TOKEN/],
    [429, /asked too often \(429\): try again later; HF_TOKEN raises its limit/],
    [500, /answers with status 500: try again later/],
  ])("says what an answer of %d means", async (status, message) => {
    server.status = status;
    await expect(loadDataset(SOURCE)).rejects.toMatchObject({
      code: "ERR_HUB",
      message: expect.stringMatching(message),
    });
  });

  it.each([
    [/revision/, "expected an answer of at most 16777216 bytes"],
    [/tree/, "expected an answer of at most 16777216 bytes"],
    [/resolve/, /expected \d+ bytes, found more/],
  ])("takes no answer without an end: %s", async (path, message) => {
    server.endless = path;
    await expect(loadDataset(`${SOURCE}/test.jsonl`)).rejects.toThrow(message);
  });

  it.each<[string, "silent" | "page" | "circle", RegExp]>([
    ["never answers", "silent", /no byte from http:\S+ for 3600 s: try again later, or raise HF_HUB_DOWNLOAD_TIMEOUT/],
    ["is a login page", "page", /what answers at http:\S+ does not speak the hub's protocol/],
    ["runs in circles", "circle", /http:\S+ cannot be reached \(redirect count exceeded\): try again/],
  ])("says what to do where the hub %s", async (_, fault, message) => {
    if (fault === "silent") silenceIsLong();
    for (const [path, file] of [
      [/revision/, ""],
      [/tree/, ""],
      [/resolve/, "test.jsonl: "],
    ] as const) {
      server[fault] = path;
      const { signal } = new AbortController(); // as a command has one, which nobody aborts
      const error = await loadDataset(`${SOURCE}/test.jsonl`, { signal }).catch((thrown) => thrown);
      expect(error).toMatchObject({ code: "ERR_HUB", message: expect.stringMatching(message) });
      expect(error.message.startsWith(`${SOURCE}@main: ${file}`)).toBe(true);
    }
    expect(await stored()).toEqual([]);
    server[fault] = undefined;
    expect((await loadDataset(`${SOURCE}/test.jsonl`)).test).toHaveLength(3);
    server[fault] = /revision/;
    const known = loadDataset(`${SOURCE}/test.jsonl`); // the newest commit seen will do, but not where a page takes its place
    if (fault === "page") await expect(known).rejects.toThrow(message);
    else expect((await known).test).toHaveLength(3);
  });

  it("names the file that is missing or breaks off, and keeps what came", async () => {
    await loadDataset(`${SOURCE}/test.jsonl`);
    server.cut = { bytes: 1000, times: 4, after: arrived("train.jsonl") };
    await expect(loadDataset(`${SOURCE}/train.jsonl`)).rejects.toThrow(
      /@main: train\.jsonl: http:\S+ cannot be reached/,
    );
    expect(await stored()).toContainEqual(expect.stringMatching(/train\.jsonl\.part$/));
    server.files = { "test.jsonl": server.files["test.jsonl"]! };
    await expect(loadDataset(`${SOURCE}/train.jsonl`)).rejects.toThrow(
      /train\.jsonl: the hub has no such file \(404\)/,
    );
  });

  it("gives up where a file stops coming", async () => {
    silenceIsLong();
    server.stall = 100;
    const { signal } = new AbortController();
    await expect(loadDataset(`${SOURCE}/train.jsonl`, { signal })).rejects.toThrow(
      /train\.jsonl: no byte from http:\S+ for 3600 s/,
    );
  });

  it("asks again where the list that was kept is broken, and keeps none that is empty", async () => {
    const files = server.files;
    server.files = {};
    await expect(loadDataset(SOURCE)).rejects.toThrow(/found none/);
    server.files = files;
    expect((await loadDataset(SOURCE)).test).toHaveLength(3);
    const folder = join(cache, "hub", "datasets--owner--name");
    const entry = { path: "../../test.jsonl", size: 3, hash: "0" };
    for (const text of ["[{", "[1]", '[{"path": "test.jsonl"}]', JSON.stringify([entry])]) {
      await writeFile(join(folder, server.commit, ".files.json"), text);
      expect((await loadDataset(SOURCE)).test).toHaveLength(3);
    }
    await writeFile(join(folder, "refs", "main"), "../../elsewhere");
    vi.stubEnv("HF_HUB_OFFLINE", "1");
    await expect(loadDataset(SOURCE)).rejects.toThrow(/not in the cache, and HF_HUB_OFFLINE is set/);
  });

  it("names a cache that cannot be written", async () => {
    await loadDataset(`${SOURCE}/test.jsonl`);
    const folder = join(cache, "hub", "datasets--owner--name", server.commit);
    await symlink("train.jsonl.part", join(folder, "train.jsonl.part"));
    await expect(loadDataset(`${SOURCE}/train.jsonl`)).rejects.toMatchObject({
      code: "ERR_FILE",
      message: expect.stringMatching(/train\.jsonl\.part: cannot be written \(ELOOP/),
    });
  });

  it("is asked for with the token", async () => {
    server.token = "hf_secret";
    await expect(loadDataset(SOURCE)).rejects.toThrow(/401/);
    vi.stubEnv("HF_TOKEN", "hf_secret");
    expect((await loadDataset(SOURCE)).test).toHaveLength(3);
  });

  it("stops at the signal", async () => {
    await expect(loadDataset(SOURCE, { signal: AbortSignal.abort() })).rejects.toThrow(/abort/i);
    const controller = new AbortController();
    const onProgress = () => controller.abort();
    await expect(loadDataset(SOURCE, { signal: controller.signal, onProgress })).rejects.toThrow(/abort/i);
  });

  it("rejects with what its listener of progress throws, without another try", async () => {
    let told = 0;
    const onProgress = () => {
      told++;
      throw new Error("no more");
    };
    await expect(loadDataset(SOURCE, { onProgress })).rejects.toThrow(/^no more$/);
    expect(told).toBe(1);
  });

  it("names what is wrong with an address, and a file that holds no problems", async () => {
    for (const address of ["hf://owner/name", "hf://datasets/name", "hf://datasets/owner/name/../other"]) {
      await expect(loadDataset(address)).rejects.toThrow(/expected hf:\/\/datasets\/owner\/name/);
    }
    server.files = { "README.md": Buffer.from("x") };
    await expect(loadDataset(SOURCE)).rejects.toThrow(/expected files \(.*found none/);
  });
});

describe("a named set that is not on this machine", () => {
  it("is looked for on the hub, and says where it was looked for", async () => {
    vi.stubEnv("TINYLORA_DATA", join(cache, "tinylora-no-data"));
    await expect(loadDataset("math")).rejects.toThrow(
      /^math: math\/train.jsonl: not found in .*tinylora-no-data.*from the hub: .*EleutherAI\/hendrycks_math@main: .*404/,
    );
    await expect(loadDataset("mawps")).rejects.toThrow(/^mawps\/all.jsonl: not found in/);
  });
});
