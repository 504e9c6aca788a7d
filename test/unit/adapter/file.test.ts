import { createHash } from "node:crypto";
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Adapter } from "../../../lib/adapter/adapter.js";
import { buildBasis } from "../../../lib/adapter/basis.js";
import { readAdapterFile, writeAdapterFile } from "../../../lib/adapter/file.js";
import { decodeSafetensors, encodeSafetensors, floatTensor } from "../../../lib/adapter/safetensors.js";
import { encodeShort } from "../../../lib/adapter/short-string.js";
import { adapterSpec } from "../../../lib/adapter/spec.js";
import { anyFacts, MODULES } from "./arbitrary.js";

const base = { fingerprint: "00112233445566aa", modules: MODULES };
let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "tinylora-adapter-"));
});
afterAll(() => rm(folder, { recursive: true }));

async function saved(name: string): Promise<string> {
  const path = join(folder, name);
  const adapter = Adapter.create(base, { u: 3, dtype: "bf16" });
  await adapter.withVector([0.5, -0.25, 1]).save(path);
  return path;
}

describe("adapter files", () => {
  it("refuses a folder without an adapter", async () => {
    await expect(Adapter.load(folder)).rejects.toThrow("expected adapter.json in this folder");
  });

  it("says where the model is when a run trained all weights", async () => {
    const run = await mkdtemp(join(folder, "run-"));
    await mkdir(join(run, "model"));
    await expect(Adapter.load(run)).rejects.toThrow(
      `found a model that was trained itself: name ${join(run, "model")} as the model`,
    );
  });

  it("takes options that are undefined for options that are not given", () => {
    const options = {
      kind: undefined,
      tying: undefined,
      targetModules: undefined,
      projection: undefined,
      u: undefined,
    };
    expect(adapterSpec({ ...options, r: 3 } as object)).toEqual(adapterSpec({ r: 3 }));
  });

  it("refuses what is no file and no short string", async () => {
    await expect(Adapter.load("nowhere")).rejects.toMatchObject({ code: "ERR_ADAPTER" });
    await expect(Adapter.load("nowhere")).rejects.toThrow(
      "expected a folder with adapter.json, or a string that begins with tl1-",
    );
  });

  it("refuses a file with one changed byte", async () => {
    const path = await saved("changed");
    const file = join(path, "adapter.safetensors");
    const bytes = await readFile(file);
    for (const place of [0, 20, bytes.length - 1]) {
      const changed = Buffer.from(bytes);
      changed[place]! ^= 1;
      await writeFile(file, changed);
      await expect(Adapter.load(path)).rejects.toThrow("checksum does not match");
    }
  });

  it.each([
    ["r", "two", 'adapter.json: r: expected a number, found "two"'],
    ["r", undefined, "adapter.json: r: expected a number"],
    ["split", "lef", 'split: expected one of left, sqrt (nearest: left), found "lef"'],
    ["r", -1, "r: expected a whole number from 1 to 16, found -1"],
    ["base_fingerprint", "xyz", 'base_fingerprint: expected 16 hex digits, found "xyz"'],
    ["surprise", 1, /adapter\.json: unknown key surprise$/],
    ["tying", "some", "tying:"],
    ["tying", "tiled", "n_tie: expected"],
    ["u", 5, "v: expected"],
    ["trained", 6, "v: expected BF16 [2,3], found BF16 [1,3]"],
  ])("refuses adapter.json with %s = %s", async (key, value, message) => {
    const path = await saved("facts");
    const file = join(path, "adapter.json");
    const facts = JSON.parse(await readFile(file, "utf8"));
    await writeFile(file, JSON.stringify({ ...facts, [key]: value }));
    await expect(Adapter.load(path)).rejects.toThrow(message);
    await writeFile(file, "{");
    await expect(Adapter.load(path)).rejects.toThrow("not JSON");
    await writeFile(file, "[1]");
    await expect(Adapter.load(path)).rejects.toThrow("adapter.json: expected an object, found [1]");
  });

  it("refuses matrices of another type, and a u that the kind does not have", async () => {
    const v = new Float32Array(20);
    const facts = { spec: adapterSpec({ kind: "lora_xs", r: 2 }), fingerprint: base.fingerprint, svdRecipe: 1, v };
    const path = join(folder, "matrices");
    const two = Float32Array.of(1, 2);
    const matrices = new Map([["m", { a: two, b: two, p: new Float32Array(16) }]]);
    await writeAdapterFile(path, { ...facts, matrices }, "1.2.3");
    const [json, file] = [join(path, "adapter.json"), join(path, "adapter.safetensors")];
    const written = JSON.parse(await readFile(json, "utf8"));
    const { tensors } = decodeSafetensors(await readFile(file), file);
    tensors.set("m.P", { dtype: "BF16", shape: [1], data: Uint8Array.of(0, 0) });
    const bytes = encodeSafetensors(tensors);
    const sha256 = createHash("sha256").update(bytes).digest("hex");
    await writeFile(file, bytes);
    await writeFile(json, JSON.stringify({ ...written, sha256 }));
    await expect(Adapter.load(path)).rejects.toThrow("m: expected A, B and P of F32, found BF16");
    await writeFile(json, JSON.stringify({ ...written, sha256, u: 5 }));
    await expect(Adapter.load(path)).rejects.toThrow("u: expected 4 for lora_xs, found 5");
  });

  it("refuses another base model and another count", async () => {
    const adapter = await Adapter.load(await saved("base"));
    expect(() => adapter.checkBase({ ...base, fingerprint: "ffffffffffffffff" })).toThrow(
      "made for another base model: expected weights with fingerprint 00112233445566aa, found ffffffffffffffff",
    );
    const untied = Adapter.create(base, { tying: { kind: "none" } });
    expect(() => untied.checkBase({ ...base, modules: MODULES.slice(0, 7) })).toThrow("v: expected 91 numbers");
    expect(() => adapter.withVector([1])).toThrow("v: expected 3 numbers, found 1");
    expect(() => adapter.withVector([1, Number.NaN, 0])).toThrow("finite");
    expect(() => Adapter.create(base, { r: 9 })).toThrow("r: expected at most 8, the smaller side of");
  });

  it("needs the SVD that it was made with, unless it has brought its matrices", async () => {
    const facts = await readAdapterFile(await saved("recipe"));
    const matrices = new Map([["m", { a: Float32Array.of(1, 2), b: Float32Array.of(1, 2), p: new Float32Array(12) }]]);
    const load = async (name: string, file: typeof facts) => {
      await writeAdapterFile(join(folder, name), { ...file, svdRecipe: 999 }, "1.2.3");
      return Adapter.load(join(folder, name));
    };
    const bare = await load("bare", facts);
    expect(() => bare.checkBase(base)).toThrow(
      /^the adapter needs version 999 of the SVD, this package has \d+: save it/,
    );
    (await load("whole", { ...facts, matrices })).checkBase(base);
  });

  it("comes back the same, and leaves nothing else in the folder", async () => {
    await fc.assert(
      fc.asyncProperty(anyFacts, async (facts) => {
        const path = join(folder, "same");
        await writeAdapterFile(path, facts, "1.2.3");
        expect(await readAdapterFile(path)).toEqual({ ...facts, matrices: undefined });
        expect((await readdir(path)).sort()).toEqual(["adapter.json", "adapter.safetensors"]);
      }),
      { numRuns: 50 },
    );
  });

  it("is the same adapter as its short string", async () => {
    const adapter = await Adapter.load(await saved("short"));
    const pasted = await Adapter.load(adapter.toString());
    expect(pasted).toEqual(adapter);
    expect(encodeShort(pasted)).toBe(adapter.toString());
  });
});

describe("basis", () => {
  const factors = MODULES.map((module) => ({
    module: module.index,
    u: Float32Array.from({ length: module.out * 2 }, (_, i) => i + 1),
    s: Float32Array.of(4, 1),
    vt: Float32Array.from({ length: 2 * module.in }, (_, i) => i - 3),
  }));

  it.each(["left", "sqrt"] as const)("B A = U diag(S) V^T whatever the split (%s)", (split) => {
    const { spec } = Adapter.create(base, { r: 2, u: 1, split });
    const { modules } = buildBasis([spec], MODULES, factors, 1);
    const { a, b } = modules[0]!;
    const { u, vt } = factors[0]!;
    const inputs = MODULES[0]!.in;
    for (const [row, column] of [
      [0, 0],
      [3, 5],
      [15, 15],
    ] as const) {
      const product = b[2 * row]! * a[column]! + b[2 * row + 1]! * a[inputs + column]!;
      expect(product).toBe(4 * u[2 * row]! * vt[column]! + u[2 * row + 1]! * vt[inputs + column]!);
    }
    if (split === "left") expect(a).toEqual(vt);
    else expect(a[0]).toBe(2 * vt[0]!);
  });
});

describe("small safetensors files", () => {
  it("come back the same, whatever the names", () => {
    fc.assert(
      fc.property(
        fc.dictionary(
          fc.string({ unit: "binary" }).filter((n) => n !== "__metadata__" && n !== "__proto__" && !/^\d+$/.test(n)),
          fc.float32Array(),
        ),
        (arrays) => {
          const tensors = new Map(
            Object.entries(arrays).map(([name, values]) => [name, floatTensor(values, [values.length])]),
          );
          const { tensors: found } = decodeSafetensors(encodeSafetensors(tensors), "x");
          expect([...found].map(([name, { shape, data }]) => [name, shape, [...data]])).toEqual(
            [...tensors].map(([name, { shape, data }]) => [name, shape, [...data]]),
          );
        },
      ),
    );
  });

  it("hostile bytes are an error, never anything else", () => {
    const good = Buffer.from(encodeSafetensors(new Map([["v", floatTensor(Float32Array.of(1, 2), [2])]])));
    fc.assert(
      fc.property(
        fc.uint8Array({ maxLength: 64 }),
        fc.nat(good.length - 1),
        fc.integer({ min: 1, max: 255 }),
        (bytes, place, flip) => {
          const changed = Buffer.from(good);
          changed[place]! ^= flip;
          for (const bad of [
            bytes,
            changed.subarray(0, place),
            Buffer.concat([good, bytes.length ? bytes : Buffer.of(0)]),
          ]) {
            expect(() => decodeSafetensors(bad, "bad.safetensors")).toThrow(/^bad.safetensors: /);
          }
          try {
            decodeSafetensors(changed, "bad.safetensors");
          } catch (error) {
            expect((error as { code: string }).code).toBe("ERR_FILE");
          }
        },
      ),
    );
  });
});
