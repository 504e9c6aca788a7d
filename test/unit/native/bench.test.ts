import { totalmem } from "node:os";
import { expect, it, vi } from "vitest";
import { type BenchProductSpec, benchLimits, benchProduct, machine } from "../../../lib/index.js";

const on = { device: "cpu", path: machine().paths[0]!, threads: 1, seconds: 0 } as const;
const product = {
  ...on,
  out: 64,
  in: 64,
  rows: 1,
  dtype: "bf16",
  direction: "forward",
  rank: 0,
  footprint: 0,
} as const;

it.each<[string, Partial<BenchProductSpec>, number]>([
  ["footprint", { footprint: 2 ** 53 - 1 }, 2 ** 53],
  ["shape", { out: 2 ** 24, in: 2 ** 24 }, 2 * 2 ** 48],
  ["shape in fp32", { out: 2 ** 24, in: 2 ** 24, dtype: "fp32" }, 4 * 2 ** 48],
  ["number of rows", { rows: 2 ** 24, in: 2 ** 24 }, 6 * 2 ** 48],
])("a %s that the machine has no room for is refused before it takes any", async (_, large, bytes) => {
  const error = await benchProduct({ ...product, ...large }).catch((error: Error) => error);
  expect(error).toMatchObject({ code: "ERR_MEMORY" });
  const [, room, found] =
    /^bench: .* at most (\d+) MiB, this machine's memory, found (\d+) MiB: measure fewer rows/.exec(
      (error as Error).message,
    )!;
  expect(Number(room)).toBeLessThanOrEqual(Math.ceil(totalmem() / 2 ** 20));
  expect((Number(found) * 2 ** 20) / bytes).toBeCloseTo(1, 4);
});

it("what a container may not take is refused likewise", async () => {
  const limit = vi.spyOn(process, "constrainedMemory").mockReturnValue(2 ** 29);
  try {
    const refused = "expected to take at most 512 MiB, this machine's memory, found 1024 MiB";
    await expect(benchLimits({ ...on, threads: 4 })).rejects.toThrow(refused);
    await expect(benchProduct({ ...product, footprint: 2 ** 30 - 2 ** 20 })).rejects.toThrow(refused);
  } finally {
    limit.mockRestore();
  }
});

it("the memory of another device is that device's to refuse", async () => {
  const { path, threads, ...spec } = product;
  await expect(benchProduct({ ...spec, device: "cuda", footprint: 2 ** 53 - 1 })).rejects.toThrow(
    /^(?!.*this machine's memory)/s,
  );
});

it("products that fit are measured", async () => {
  expect((await benchProduct({ ...product, footprint: 2 ** 20 })).calls).toBeGreaterThan(0);
});
