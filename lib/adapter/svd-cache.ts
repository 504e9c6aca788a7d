import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { cacheFolder } from "../config/env.js";
import { writeFileAtomic } from "../files.js";
import type { LinearModule, SvdFactors } from "../native/addon.js";
import type { OnProgress, Session } from "../native/session.js";
import { decodeSafetensors, encodeSafetensors, floatTensor, type SmallTensors, tensorFloats } from "./safetensors.js";

/** Raised whenever native/engine/svd.cpp gives other factors for the same weights: adapters and caches carry it. */
export const SVD_RECIPE = 1;

/**
 * The factors of these modules: from the disk where they are, computed and kept for next time where not. Those of a large
 * model take minutes: what was computed before an end by signal or error is kept, too.
 */
export async function cachedSvd(
  session: Session,
  rank: number,
  modules: readonly LinearModule[],
  { onProgress, signal }: { onProgress?: OnProgress | undefined; signal?: AbortSignal | undefined } = {},
): Promise<SvdFactors[]> {
  const path = svdCachePath(session.fingerprint, rank);
  const factors = await readCache(path, rank, session.modules);
  const kept = factors.size;
  const missing = modules.filter((module) => !factors.has(module.index));
  try {
    for (const [done, { index, name }] of missing.entries()) {
      const tell = () => onProgress?.(done + 1, missing.length);
      const [found] = await session.computeSvd({ rank, modules: [index] }, tell, signal);
      const { angle, ...computed } = found!;
      factors.set(index, computed);
      if (angle > 0) process.emitWarning(notConverged(name, rank, angle));
    }
  } finally {
    if (factors.size > kept) await writeCache(path, rank, session.modules, factors);
  }
  return modules.map((module) => factors.get(module.index)!);
}

function notConverged(name: string, rank: number, angle: number): string {
  const off = `its directions may be off by ${Number(angle.toPrecision(2))} radians, and are usually known to 1e-7`;
  return `${name}: its SVD of rank ${rank} has not converged: ${off}; adapters work with them, another r has others`;
}

export function svdCachePath(fingerprint: string, rank: number): string {
  return join(cacheFolder(), "svd", `${fingerprint}-v${SVD_RECIPE}-r${rank}.safetensors`);
}

/** Whatever is wrong with a cache, the cure is to compute again: nothing here throws. */
async function readCache(
  path: string,
  rank: number,
  modules: readonly LinearModule[],
): Promise<Map<number, SvdFactors>> {
  const factors = new Map<number, SvdFactors>();
  let tensors: SmallTensors;
  try {
    tensors = decodeSafetensors(await readFile(path), path).tensors;
  } catch {
    return factors;
  }
  for (const module of modules) {
    const [u, s, vt] = (["u", "s", "vt"] as const).map((part) => tensors.get(`${module.name}.${part}`));
    if (!u || !s || !vt) continue;
    const fits =
      u.data.length === 4 * module.out * rank && s.data.length === 4 * rank && vt.data.length === 4 * rank * module.in;
    if (fits)
      factors.set(module.index, { module: module.index, u: tensorFloats(u), s: tensorFloats(s), vt: tensorFloats(vt) });
  }
  return factors;
}

/** A cache that cannot be written costs the next start some seconds, no more. */
async function writeCache(
  path: string,
  rank: number,
  modules: readonly LinearModule[],
  factors: ReadonlyMap<number, SvdFactors>,
): Promise<void> {
  const tensors: SmallTensors = new Map();
  for (const module of modules) {
    const found = factors.get(module.index);
    if (!found) continue;
    tensors.set(`${module.name}.u`, floatTensor(found.u, [module.out, rank]));
    tensors.set(`${module.name}.s`, floatTensor(found.s, [rank]));
    tensors.set(`${module.name}.vt`, floatTensor(found.vt, [rank, module.in]));
  }
  try {
    await writeFileAtomic(path, encodeSafetensors(tensors, { recipe: String(SVD_RECIPE) }));
  } catch (error) {
    process.emitWarning(`the SVD was not kept for next time: ${(error as Error).message}`);
  }
}
