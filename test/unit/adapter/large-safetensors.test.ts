import { open, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { pieces, readSafetensors, writeSafetensors } from "../../../lib/adapter/large-safetensors.js";
import { encodeSafetensors, floatTensor, tensorFloats } from "../../../lib/adapter/safetensors.js";
import { expectError, temporaryFolder } from "../model/files.js";

const small = new Map([
  ["a", floatTensor(Float32Array.of(1, 2, 3, 4, 5, 6), [2, 3])],
  ["none", floatTensor(new Float32Array(), [0])],
  ["b", floatTensor(Float32Array.of(-1), [1])],
]);
const large = new Map(
  [...small].map(([name, tensor]) => [name, { ...tensor, data: async () => tensor.data }] as const),
);

async function written(): Promise<string> {
  const path = join(temporaryFolder(), "weights.safetensors");
  await writeSafetensors(path, large, { updates: "7" });
  return path;
}

async function read<T>(path: string, use: (found: Awaited<ReturnType<typeof readSafetensors>>) => T): Promise<T> {
  await using file = await open(path, "r");
  return await use(await readSafetensors(file, "it"));
}

describe("a safetensors file that is written and read tensor by tensor", () => {
  it("is the file that is made at once", async () => {
    expect(await readFile(await written())).toEqual(encodeSafetensors(small, { updates: "7" }));
  });

  it("gives back its numbers in any order", async () => {
    await read(await written(), async ({ tensors, metadata }) => {
      expect(metadata.updates).toBe("7");
      for (const [name, { shape, data }] of [...small].reverse()) {
        const found = tensors.get(name)!;
        expect(found.shape).toEqual(shape);
        expect(await found.data()).toEqual(data);
        expect(tensorFloats({ ...found, data: await found.data() })).toEqual(tensorFloats({ ...found, data }));
      }
    });
  });

  it("is refused where a byte of it is another, or missing", async () => {
    const path = await written();
    const good = await readFile(path);
    const header = 8 + Number(good.readBigUInt64LE());
    for (const place of [0, header - 1, header, good.length - 1]) {
      const bad = Buffer.from(good);
      bad[place]! ^= 1;
      await writeFile(path, bad);
      await expect(read(path, () => {})).rejects.toThrow(/^it: /);
    }
    for (const length of [0, 7, header, good.length - 1]) {
      await writeFile(path, good.subarray(0, length));
      await expect(read(path, () => {})).rejects.toThrow(/^it: .*expected/);
    }
  });

  it("is not written with a tensor of another size", async () => {
    const path = join(temporaryFolder(), "weights.safetensors");
    const wrong = new Map([["a", { dtype: "F32" as const, shape: [2], data: async () => new Uint8Array(4) }]]);
    await expectError(() => writeSafetensors(path, wrong), "ERR_FILE", "a: expected 8 bytes, found 4");
  });

  it("may be larger than what Node hashes and reads at once", () => {
    expect([...pieces(10, 4)]).toEqual([
      { start: 0, end: 4 },
      { start: 4, end: 8 },
      { start: 8, end: 10 },
    ]);
    const embedding = 152_064 * 3584 * 4; // bytes of Qwen2.5-7B's, in fp32
    const sizes = [...pieces(embedding)].map(({ start, end }) => end - start);
    expect(sizes.reduce((sum, size) => sum + size, 0)).toBe(embedding);
    expect(Math.max(...sizes)).toBeLessThan(2 ** 31);
  });
});
