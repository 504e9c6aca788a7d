import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { decodeVector, encodeVector, roundVector, VECTOR_DTYPES } from "../../../lib/adapter/vector-dtype.js";

const words = (count: number) =>
  Uint8Array.from({ length: 2 * count }, (_, i) => (i % 2 ? (i >> 1) >> 8 : (i >> 1) & 255));

describe("dtypes of v", () => {
  it.each(["bf16", "fp16"] as const)("%s: all 65,536 patterns survive decoding and encoding", (dtype) => {
    const bytes = words(65536);
    const values = decodeVector(bytes, dtype);
    const again = encodeVector(roundVector(values, dtype), dtype);
    for (let i = 0; i < 65536; i++) {
      const same = again[2 * i] === bytes[2 * i] && again[2 * i + 1] === bytes[2 * i + 1];
      if (!same && !Number.isNaN(values[i])) throw new Error(`${dtype} pattern ${i} became another`);
    }
  });

  it.each(["bf16", "fp16"] as const)("%s: rounds to the nearest, ties to even", (dtype) => {
    const finite = [...decodeVector(words(dtype === "bf16" ? 0x7f80 : 0x7c00), dtype)];
    for (let i = 0; i + 1 < finite.length; i += 37) {
      const [low, high] = [finite[i]!, finite[i + 1]!];
      const middle = low + (high - low) / 2;
      const even = i % 2 === 0 ? low : high;
      const above = middle * (1 + 2 ** -40);
      const below = middle * (1 - 2 ** -40);
      expect([...roundVector([low, middle, above, below, -middle], dtype)]).toEqual([low, even, high, low, -even]);
    }
  });

  it("no number stays none, whatever its bits", () => {
    const bits = Uint32Array.of(0x7f800001, 0xff800001, 0x7fffffff);
    for (const dtype of VECTOR_DTYPES) {
      const kept = encodeVector(roundVector(new Float32Array(bits.buffer), dtype), dtype);
      expect([...decodeVector(kept, dtype)]).toEqual([Number.NaN, Number.NaN, Number.NaN]);
    }
  });

  it("fp32 is Math.fround", () => {
    fc.assert(
      fc.property(fc.double({ noNaN: true }), (value) => {
        expect(roundVector([value], "fp32")[0]).toBe(Math.fround(value));
      }),
    );
  });

  it("rounds twice to the same", () => {
    fc.assert(
      fc.property(fc.constantFrom(...VECTOR_DTYPES), fc.array(fc.double({ noNaN: true })), (dtype, values) => {
        const once = roundVector(values, dtype);
        expect(roundVector(once, dtype)).toEqual(once);
      }),
    );
  });

  it("rounds weights and the same numbers in a list alike", () => {
    const bits = fc.uint32Array({ minLength: 1, maxLength: 64 });
    fc.assert(
      fc.property(fc.constantFrom(...VECTOR_DTYPES), bits, (dtype, patterns) => {
        const values = new Float32Array(patterns.buffer, patterns.byteOffset, patterns.length);
        expect(roundVector(values, dtype)).toEqual(roundVector([...values], dtype));
      }),
    );
    expect([...roundVector(Float32Array.of(Infinity, -Infinity, Number.NaN, -0, 3.4e38), "bf16")]).toEqual([
      Infinity,
      -Infinity,
      Number.NaN,
      -0,
      Infinity,
    ]);
  });

  it("knows the edges of fp16", () => {
    expect([...roundVector([65504, 65519, 65520, -1e9, 2 ** -24, 2 ** -25, 2 ** -25 * 1.001], "fp16")]).toEqual([
      65504,
      65504,
      Infinity,
      -Infinity,
      2 ** -24,
      0,
      2 ** -24,
    ]);
  });
});
