import { spawnSync } from "node:child_process";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { TinyLoraError } from "../../../lib/error.js";
import { readSafetensors } from "../../../lib/model/safetensors.js";
import { expectError, safetensors, temporaryFolder, write } from "./files.js";

const folder = temporaryFolder();
const a = { dtype: "F32", shape: [2, 3], data_offsets: [0, 24] };
const b = { dtype: "BF16", shape: [4], data_offsets: [24, 32] };

function read(header: string | object, data = 32) {
  return readSafetensors(write(folder, "model.safetensors", safetensors(header, data)));
}

describe("a safetensors header", () => {
  it("tells where tensors lie", () => {
    const header = { __metadata__: { format: "pt" }, a, b };
    const data = 8 + JSON.stringify(header).length;
    const file = `${folder}/model.safetensors`;
    expect(read(header)).toEqual([
      { name: "a", file, offset: data, bytes: 24, type: "F32", shape: [2, 3] },
      { name: "b", file, offset: data + 24, bytes: 8, type: "BF16", shape: [4] },
    ]);
  });

  const cases: [what: string, header: string | object, data: number, found: string[]][] = [
    ["no JSON", "{", 32, ["not JSON"]],
    ["a list", "[]", 32, ["expected a JSON object"]],
    ["a tensor that is no object", { a: 1 }, 32, ["tensor a", "expected an object, found 1"]],
    ["lists in lists", `{"a":${"[".repeat(1e5)}${"]".repeat(1e5)}}`, 32, ["tensor a", "expected an object"]],
    ["an unknown dtype", { a: { ...a, dtype: "I64" } }, 24, ["tensor a: dtype", 'F32, F16 or BF16, found "I64"']],
    ["a dtype that objects inherit", { a: { ...a, dtype: "toString" } }, 24, ["tensor a: dtype"]],
    ["a negative size", { a: { ...a, shape: [-2, -3] } }, 24, ["tensor a: shape", "[-2,-3]"]],
    ["a fraction", { a: { ...a, shape: [1.5, 4] } }, 24, ["tensor a: shape"]],
    ["an overflowing size", { a: { ...a, shape: [2 ** 40, 2 ** 40] } }, 24, ["tensor a", "found 24"]],
    ["a shape of other bytes", { a: { ...a, shape: [2, 4] } }, 24, ["expected 32 bytes of F32", "found 24"]],
    ["offsets beyond the end", { a, b: { ...b, data_offsets: [28, 36] } }, 32, ["tensor b: data_offsets", "[28,36]"]],
    ["negative offsets", { a: { ...a, data_offsets: [-24, 0] } }, 24, ["tensor a: data_offsets"]],
    ["offsets in the wrong order", { a: { ...a, data_offsets: [24, 0] } }, 24, ["tensor a: data_offsets"]],
    ["one offset", { a: { ...a, data_offsets: [24] } }, 24, ["tensor a: data_offsets"]],
    ["tensors that overlap", { a, b: { ...b, data_offsets: [20, 28] } }, 28, ["tensor b", "overlaps"]],
    ["a hole", { a, b: { ...b, data_offsets: [28, 36] } }, 36, ["tensor b", "hole"]],
    ["bytes after the last tensor", { a, b }, 40, ["end at the file's end"]],
    ["a name twice", `{"a":${JSON.stringify(a)},"a":${JSON.stringify(a)}}`, 24, ["each tensor once, found 2 entries"]],
  ];
  it.each(cases)("with %s is refused", (_, header, data, found) =>
    expectError(() => read(header, data), "ERR_MODEL", "model.safetensors", ...found),
  );

  it("whose length leaves the file is refused", async () => {
    const file = safetensors({ a, b }, 32);
    for (const length of [2n ** 64n - 1n, 2n ** 63n, 2n ** 40n, BigInt(file.length - 7)]) {
      file.writeBigUInt64LE(length);
      const path = write(folder, "long.safetensors", file);
      await expectError(() => readSafetensors(path), "ERR_MODEL", "header length", `found ${length}`);
    }
  });
  it("cut at any byte is refused", () => {
    const whole = safetensors({ a, b }, 32);
    for (let length = 0; length < whole.length; ++length) {
      const file = write(folder, "cut.safetensors", whole.subarray(0, length));
      expect(() => readSafetensors(file)).toThrow(TinyLoraError);
    }
  });
  it("with any byte changed gives tensors inside the file or an error of ours", () => {
    const whole = safetensors({ a, b }, 32);
    fc.assert(
      fc.property(fc.nat(whole.length - 1), fc.nat(255), (place, value) => {
        const changed = Buffer.from(whole);
        changed[place] = value;
        const file = write(folder, "changed.safetensors", changed);
        try {
          for (const tensor of readSafetensors(file)) {
            expect(tensor.offset + tensor.bytes).toBeLessThanOrEqual(whole.length);
          }
        } catch (error) {
          expect(error).toBeInstanceOf(TinyLoraError);
        }
      }),
      { numRuns: 500 },
    );
  });
  it("of a file that is not there is an ERR_FILE", () =>
    expectError(() => readSafetensors(`${folder}/none.safetensors`), "ERR_FILE", "none.safetensors", "no such file"));
  it("of a pipe is an ERR_FILE, at once", () => {
    const pipe = `${folder}/pipe.safetensors`;
    expect(spawnSync("mkfifo", [pipe]).status).toBe(0);
    return expectError(() => readSafetensors(pipe), "ERR_FILE", "cannot be read (not a file)");
  });
  it("of a folder is an ERR_FILE", () => expectError(() => readSafetensors(folder), "ERR_FILE", "cannot be read"));
});
