import { mkdtemp, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { cachedSvd, svdCachePath } from "../../../lib/adapter/svd-cache.js";
import type { Session } from "../../../lib/native/session.js";
import { FakePolicy } from "../train/fake-policy.js";

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "tinylora-svd-"));
  vi.stubEnv("TINYLORA_CACHE", folder);
});
afterEach(async () => {
  vi.unstubAllEnvs();
  await rm(folder, { recursive: true });
});

const { modules } = new FakePolicy();

/** Factors that say which module they are of, and what was asked for. */
class FakeSession {
  readonly fingerprint = "0123456789abcdef";
  readonly modules = modules;
  readonly asked: number[][] = [];
  angle = 0;
  computeSvd: Session["computeSvd"] = async ({ rank, modules: wanted }, onProgress, signal) => {
    this.asked.push([...wanted]);
    onProgress?.(wanted.length, wanted.length);
    signal?.throwIfAborted();
    return wanted.map((module) => {
      const { in: inputs, out } = modules[module]!;
      const filled = (length: number, value: number) => new Float32Array(length).fill(module + value);
      return {
        module,
        u: filled(out * rank, 0.25),
        s: filled(rank, 0.5),
        vt: filled(rank * inputs, 0.75),
        angle: this.angle,
      };
    });
  };
}

it("computes what is not kept, and gives back the same", async () => {
  const session = new FakeSession();
  const get = (chosen: number[], rank = 2) =>
    cachedSvd(
      session as unknown as Session,
      rank,
      chosen.map((index) => modules[index]!),
    );
  const first = await get([0, 3]);
  expect(await get([3, 0])).toEqual([first[1], first[0]]);
  expect(await get([0, 1])).toHaveLength(2);
  await get([0, 1, 3]);
  expect(session.asked).toEqual([[0], [3], [1]]);
  await get([0], 1);
  expect(session.asked.at(-1)).toEqual([0]);
  const path = svdCachePath(session.fingerprint, 2);
  const { ino } = await stat(path);
  await get([0, 1, 3]);
  expect((await stat(path)).ino).toBe(ino); // a file of gigabytes is not written again
  await writeFile(path, (await readFile(path)).subarray(0, 100));
  expect(await get([0, 3])).toEqual(first);
  expect(session.asked.slice(-2)).toEqual([[0], [3]]);
});

it("what was computed before it was stopped is kept, and progress is told of all modules", async () => {
  const session = new FakeSession();
  const stopped = new AbortController();
  const told: [number, number][] = [];
  const get = (signal?: AbortSignal) =>
    cachedSvd(session as unknown as Session, 2, modules.slice(0, 4), {
      signal,
      onProgress: (done, total) => {
        told.push([done, total]);
        if (done === 2) stopped.abort(new Error("Ctrl-C"));
      },
    });
  await expect(get(stopped.signal)).rejects.toThrow("Ctrl-C");
  expect(told).toEqual([
    [1, 4],
    [2, 4],
  ]);
  session.asked.length = 0;
  expect(await get()).toHaveLength(4);
  expect(session.asked).toEqual([[1], [2], [3]]); // the one that was under way is made again
});

it("tells of a module whose SVD has not converged", async () => {
  const session = Object.assign(new FakeSession(), { angle: 0.0123 });
  const warned = new Promise<Error>((resolve) => process.once("warning", resolve));
  await cachedSvd(session as unknown as Session, 2, modules.slice(4, 5));
  expect((await warned).message).toMatch(
    /^model\.layers\.0\.mlp\.gate_proj: its SVD of rank 2 has not converged: its directions may be off by 0\.012 radians/,
  );
});
