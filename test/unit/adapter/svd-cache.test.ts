import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
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
  computeSvd = async ({ rank, modules: wanted }: { rank: number; modules: readonly number[] }) => {
    this.asked.push([...wanted]);
    return wanted.map((module) => {
      const { in: inputs, out } = modules[module]!;
      const filled = (length: number, value: number) => new Float32Array(length).fill(module + value);
      return { module, u: filled(out * rank, 0.25), s: filled(rank, 0.5), vt: filled(rank * inputs, 0.75) };
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
  expect(session.asked).toEqual([[0, 3], [1]]);
  await get([0], 1);
  expect(session.asked.at(-1)).toEqual([0]);
  const path = svdCachePath(session.fingerprint, 2);
  await writeFile(path, (await readFile(path)).subarray(0, 100));
  expect(await get([0, 3])).toEqual(first);
  expect(session.asked.at(-1)).toEqual([0, 3]);
});
