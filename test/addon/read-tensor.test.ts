import { readFileSync } from "node:fs";
import { afterAll, expect, it } from "vitest";
import { loadAddon } from "../../lib/native/load.js";
import type { TensorSource } from "../../lib/native/model-source.js";
import { writeTinyModel } from "./tiny-model.js";

const addon = loadAddon();
const model = writeTinyModel();
afterAll(() => model.remove());
const query = model.tensors.find(({ name }) => name.endsWith("0.self_attn.q_proj.weight"))!;
const gain = model.tensors.find(({ name }) => name === "model.norm.weight")!;

function bytesOf({ offset, bytes }: TensorSource): Float32Array {
  return new Float32Array(new Uint8Array(readFileSync(model.file).subarray(offset, offset + bytes)).buffer);
}

it("reads matrices and vectors as floats", async () => {
  for (const source of [query, gain]) expect(await addon.readTensor(source)).toEqual(bytesOf(source));
});

it("puts the rows of permuted heads in Hugging Face's order", async () => {
  const { heads, headDim } = model.config;
  const [rows, permuted] = [bytesOf(query), await addon.readTensor({ ...query, permutedHeads: heads })];
  const width = query.shape[1]!;
  for (let row = 0; row < heads * headDim; row++) {
    const [head, within] = [Math.floor(row / headDim), row % headDim];
    const [half, pair] = [Math.floor(within / (headDim / 2)), within % (headDim / 2)];
    const from = head * headDim + 2 * pair + half;
    expect(permuted.subarray(row * width, (row + 1) * width)).toEqual(rows.subarray(from * width, (from + 1) * width));
  }
});

it.each<[string, Partial<TensorSource>, string, RegExp]>([
  ["a file that is not there", { file: "nowhere" }, "ERR_FILE", /nowhere/],
  ["bytes beyond the file", { offset: 2 ** 40 }, "ERR_FILE", /q_proj/],
  ["bytes of another shape", { bytes: query.bytes - 4 }, "ERR_MODEL", /expected 6400 bytes of type F32, found 6396/],
  ["an unknown type", { type: "Q9" as "F32" }, "ERR_MODEL", /expected type .*, found Q9/],
  ["rows that no block fits", { type: "Q4_K" }, "ERR_MODEL", /multiple of 256/],
  ["three dimensions", { shape: [4, 10, 40] }, "ERR_MODEL", /expected a matrix or a vector/],
  ["sizes whose product overflows", { shape: [2 ** 31, 2 ** 31] }, "ERR_MODEL", /expected a matrix or a vector/],
  ["rows of no whole heads", { permutedHeads: 3 }, "ERR_MODEL", /expected a multiple of 6 rows, found 40/],
])("refuses %s", async (_, change, code, message) => {
  await expect(addon.readTensor({ ...query, ...change })).rejects.toMatchObject({
    code,
    message: expect.stringMatching(message),
  });
});
