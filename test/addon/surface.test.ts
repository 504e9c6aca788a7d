import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, it } from "vitest";
import { loadAddon } from "../../lib/native/load.js";
import { packageRoot } from "../../lib/version.js";
import { quiet, withEngine } from "./sampling.js";
import { writeTinyModel } from "./tiny-model.js";

const addon = loadAddon();
const page = readFileSync(join(packageRoot(), "lib", "native", "addon.ts"), "utf8");

/** The member names of an interface on the page. */
function members(name: string): string[] {
  const body = page.match(new RegExp(`export interface ${name} \\{\\n([^]*?)\\n\\}`))![1]!;
  return [...body.matchAll(/^ {2}(?:readonly )?(\w+)[?]?[(:]/gm)].map(([, member]) => member!).sort();
}

function own(object: object): string[] {
  const prototype = Object.getPrototypeOf(object);
  const methods = prototype === Object.prototype ? [] : Object.getOwnPropertyNames(prototype);
  return [...Object.keys(object), ...methods].filter((name) => name !== "constructor").sort();
}

it("exports what addon.ts says", () => {
  expect(own(addon)).toEqual(members("Addon"));
});

it("makes engines as addon.ts says", async () => {
  const model = writeTinyModel();
  await withEngine(addon, model.spec(), async (engine) => {
    expect(own(engine)).toEqual(members("NativeEngine"));
    expect(engine.device).toMatch(/^cpu \(.*, 2 threads\)$/);
    expect(engine.fingerprint).toMatch(/^[0-9a-f]{16}$/);
    expect(engine.modules).toHaveLength(14);
    expect(engine.modules[13]).toEqual({
      index: 13,
      name: "model.layers.1.mlp.down_proj",
      layer: 1,
      type: "down_proj",
      in: 56,
      out: 40,
    });
    expect(Object.keys(engine.memory()).sort()).toEqual(["activations", "cache", "peakRss", "weights"]);
  });
  model.remove();
});

it("has the version of the package", () => {
  const { version } = JSON.parse(readFileSync(join(packageRoot(), "package.json"), "utf8"));
  expect(addon.version).toBe(version);
});

it("describes the machine", () => {
  const machine = addon.machine();
  expect(machine.cpu).not.toBe("");
  expect(machine.cores).toBeGreaterThan(0);
  const kinds = machine.devices.map(({ name }) => name.replace(/:\d+$/, "")); // as many GPUs as there are
  expect([...new Set(kinds)]).toEqual(["cpu", "cuda", "reference"]);
  for (const { usable, reason } of machine.devices) expect(reason === undefined).toBe(usable);
});

it("measures products and limits", async () => {
  const path = addon.machine().paths[0]!;
  const shape = {
    out: 64,
    in: 96,
    rows: 4,
    dtype: "bf16",
    ...{ device: "cpu", path, threads: 1 },
    rank: 2,
    seconds: 0.01,
    footprint: 0,
  } as const;
  for (const direction of ["forward", "backward"] as const) {
    const { plain, fused, calls } = await addon.benchProduct({ ...shape, direction }, quiet);
    expect(calls).toBeGreaterThan(0);
    expect(plain.median).toBeGreaterThanOrEqual(plain.least);
    expect(fused.least).toBeGreaterThan(0);
  }
  const limits = await addon.benchLimits({ device: "cpu", threads: 1, path, seconds: 0.01 }, quiet);
  expect(limits.gflops.fp32).toBeGreaterThan(0);
  expect(limits.gbytes).toBeGreaterThan(0);
});
