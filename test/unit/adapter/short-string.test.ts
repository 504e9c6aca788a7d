import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { decodeShort, encodeShort } from "../../../lib/adapter/short-string.js";
import { adapterSpec } from "../../../lib/adapter/spec.js";
import { anyFacts } from "./arbitrary.js";

const ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_=+/ .";
const thirteen = {
  spec: adapterSpec({ dtype: "bf16", projection: { seed: 42, distribution: "normal" } }),
  fingerprint: "0123456789abcdef",
  svdRecipe: 1,
  v: Float32Array.from({ length: 13 }, (_, i) => (i - 6) / 64),
};

describe("short string", () => {
  it.each([
    ["", "cannot be read"],
    ["tl1-", "cannot be read"],
    ["tl1-AAAA", "the checksum does not match"],
    ["tl1-AA\nAA", "the adapter string tl1-AA AA cannot be read: "],
    ["tl2-AAAAAAAAAAAAAAAAAAAA", "cannot be read"],
    ["tl1-AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", "the checksum does not match"],
  ])("refuses %j", (text, message) => {
    expect(() => decodeShort(text)).toThrow(message);
  });

  it("has 66 characters for 13 numbers in bf16, 100 in fp32", () => {
    const text = encodeShort(thirteen);
    expect(text).toHaveLength(66);
    expect(text).toBe("tl1-AAMBfwINASoBI0VniavN78C9oL2AvUC9AL2AvAAAgDwAPUA9gD2gPcA9ARTJcA"); // as it was pasted somewhere
    expect(encodeShort({ ...thirteen, spec: { ...thirteen.spec, dtype: "fp32" } })).toHaveLength(100);
    expect(text).toMatch(/^tl1-[A-Za-z0-9_-]+$/);
    expect(decodeShort(text)).toEqual(thirteen);
    const large = {
      ...thirteen,
      spec: { ...thirteen.spec, projection: { ...thirteen.spec.projection, seed: 2 ** 53 - 1 } },
    };
    expect(encodeShort(large).length).toBeLessThan(100);
  });

  it("comes back the same", () => {
    fc.assert(
      fc.property(anyFacts, (facts) => {
        expect(decodeShort(encodeShort(facts))).toEqual(facts);
      }),
    );
  });

  it("refuses any one changed character", () => {
    const text = encodeShort(thirteen);
    for (let place = 0; place < text.length; place++) {
      for (const character of ALPHABET) {
        if (character === text[place]) continue;
        const changed = text.slice(0, place) + character + text.slice(place + 1);
        expect(() => decodeShort(changed), changed).toThrow("cannot be read");
      }
    }
  });

  it("refuses what was cut, lengthened or swapped", () => {
    fc.assert(
      fc.property(anyFacts, fc.nat(), fc.nat(), fc.stringMatching(/^[A-Za-z0-9_-]{1,4}$/), (facts, i, j, extra) => {
        const text = encodeShort(facts);
        const [x, y] = [i % text.length, j % text.length].sort((a, b) => a - b) as [number, number];
        const swapped = text.slice(0, x) + text[y] + text.slice(x + 1, y) + text[x] + text.slice(y + 1);
        const changed = [text.slice(0, x), text + extra, text.slice(0, x) + extra + text.slice(x)];
        if (x !== y && text[x] !== text[y]) changed.push(swapped);
        for (const bad of changed) expect(() => decodeShort(bad)).toThrow("cannot be read");
      }),
    );
  });
});
