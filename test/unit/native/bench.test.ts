import { totalmem } from "node:os";
import { expect, it } from "vitest";
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

it.each<[string, Partial<BenchProductSpec>]>([
  ["footprint", { footprint: 2 ** 53 - 1 }],
  ["shape", { out: 2 ** 24, in: 2 ** 24 }],
  ["rows", { rows: 2 ** 24, in: 2 ** 24 }],
])("a %s that the machine has no room for is refused before it takes any", async (_, large) => {
  const most = Math.ceil(totalmem() / 2 ** 20);
  const error = await benchProduct({ ...product, ...large }).catch((error: Error) => error);
  expect(error).toMatchObject({ code: "ERR_MEMORY" });
  const [, room, found] =
    /^bench: .* at most (\d+) MiB, this machine's memory, found (\d+) MiB: measure fewer rows/.exec(
      (error as Error).message,
    )!;
  expect(Number(room)).toBeLessThanOrEqual(most);
  expect(Number(found)).toBeGreaterThan(most);
});

it("limits of more threads than there is memory for are refused likewise", async () => {
  const threads = Math.ceil(totalmem() / 2 ** 28) + 1;
  await expect(benchLimits({ ...on, threads })).rejects.toThrow(/^bench: .* this machine's memory, found \d+ MiB/);
});

it("products that fit are measured", async () => {
  expect((await benchProduct({ ...product, footprint: 2 ** 20 })).calls).toBeGreaterThan(0);
});
