import { createHash } from "node:crypto";
import { mkdir, mkdtemp, readdir, readFile, rename, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import {
  checkpointSteps,
  decodeCheckpoint,
  encodeState,
  latestCheckpoint,
  writeCheckpoint,
} from "../../../lib/run/checkpoint.js";
import { state } from "./states-of.js";

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "tinylora-"));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

const nothing = async () => {};
const never = (message: string) => expect.fail(message);

describe("checkpoints", () => {
  it("give back every bit", async () => {
    for (const step of [0, 3]) {
      await writeCheckpoint(folder, state(step), 9, nothing);
      expect(await latestCheckpoint(folder, never, nothing)).toStrictEqual(state(step));
    }
    const numbers = Float64Array.from({ length: 13 }, (_, i) => 1 / (i + 3));
    const optimizer = { updates: 4, master: Float32Array.from(numbers), moments: [numbers] };
    const longer = { ...state(4), optimizer, lastGradient: numbers };
    await writeCheckpoint(folder, longer, 9, nothing);
    expect(await latestCheckpoint(folder, never, nothing)).toStrictEqual(longer);
  });

  it("keep the newest", async () => {
    for (const step of [1, 2, 9, 10, 11]) await writeCheckpoint(folder, state(step), 2, nothing);
    expect(await checkpointSteps(folder)).toEqual([11, 10]);
    expect((await readdir(folder)).sort()).toEqual(["step-10", "step-11"]);
  });

  it("that cannot be removed are named", async () => {
    await writeCheckpoint(folder, state(1), 9, nothing);
    await mkdir(join(folder, `.removed-1.${process.pid}`, "busy"), { recursive: true });
    await expect(writeCheckpoint(folder, state(2), 1, nothing)).rejects.toMatchObject({
      code: "ERR_FILE",
      message: expect.stringMatching(/step-1: cannot be written \(ENOTEMPTY: /),
    });
  });

  it("have names of their own: others are none", async () => {
    await writeCheckpoint(folder, state(1), 9, nothing);
    for (const name of ["step-007", "step-1e3", "step-99999999999999999999"]) await mkdir(join(folder, name));
    expect(await checkpointSteps(folder)).toEqual([1]);
  });

  it("are written once", async () => {
    await writeCheckpoint(folder, state(1), 9, nothing);
    await writeCheckpoint(folder, state(1), 9, async () => expect.fail("a second time"));
    expect(await latestCheckpoint(folder, never, nothing)).toStrictEqual(state(1));
  });

  it("are there whole or not at all", async () => {
    await writeCheckpoint(folder, state(1), 2, nothing);
    const fails = writeCheckpoint(folder, state(2), 2, async (temporary) => {
      await writeFile(join(temporary, "adapter.json"), "half");
      throw new Error("disk full");
    });
    await expect(fails).rejects.toThrow("disk full");
    expect(await readdir(folder)).toEqual(["step-1"]);
    expect((await latestCheckpoint(folder, never, nothing))!.step).toBe(1);
    await writeCheckpoint(folder, state(2), 2, nothing);
    expect((await latestCheckpoint(folder, never, nothing))!.step).toBe(2);
  });

  const sha256 = (text: string) => createHash("sha256").update(text).digest("hex");
  it.each<[string, (text: string) => string, string]>([
    ["cut off", (text) => text.slice(0, text.length / 2), ""],
    ["empty", () => "", ""],
    ["changed", (text) => text.replace('"tokens": 200', '"tokens": 201'), "the checksum does not fit"],
    ["without a checksum", () => '{"state": {}}', "expected a state and its checksum"],
    ["of another shape", () => `{"sha256": "${sha256("{}")}", "state": {}}`, "its state is of another shape"],
    ["of another step", () => JSON.stringify(encodeState(state(3))), "expected step 2, found 3"],
  ])("that are %s are passed over with a warning", async (_, damage, reason) => {
    await writeCheckpoint(folder, state(1), 2, nothing);
    await writeCheckpoint(folder, state(2), 2, nothing);
    const path = join(folder, "step-2", "state.json");
    await writeFile(path, damage(await readFile(path, "utf8")));
    const warnings: string[] = [];
    expect((await latestCheckpoint(folder, (message) => void warnings.push(message), nothing))!.step).toBe(1);
    expect(warnings[0]).toMatch(/step-2.*not a whole checkpoint/);
    expect(warnings[0]).toContain(reason);
  });

  it("without room in memory are not proven bad", async () => {
    const full = () => {
      throw new RangeError("Array buffer allocation failed");
    };
    await expect(decodeCheckpoint("state.json", full)).rejects.toThrow(RangeError);
  });

  it("that cannot be read now are not passed over", async () => {
    for (const step of [1, 2]) await writeCheckpoint(folder, state(step), 2, nothing);
    const busy = async () => {
      throw Object.assign(new Error("EMFILE: too many open files, open 'x'"), { code: "EMFILE", syscall: "open" });
    };
    await expect(latestCheckpoint(folder, never, busy)).rejects.toThrow(
      /EMFILE: too many open files.*step-2 is not proven bad and all is kept/,
    );
    const path = join(folder, "step-2", "state.json");
    await rename(path, `${path}.away`);
    await symlink(path, path);
    await expect(latestCheckpoint(folder, never, nothing)).rejects.toMatchObject({
      code: "ERR_FILE",
      message: expect.stringMatching(
        /step-2.state\.json: cannot be read \(ELOOP: [^)]*\); checkpoint step-2 is not proven bad/,
      ),
    });
    await rename(`${path}.away`, path);
    expect((await latestCheckpoint(folder, never, nothing))!.step).toBe(2);
  });

  it("without a file are passed over", async () => {
    for (const step of [1, 2]) await writeCheckpoint(folder, state(step), 2, nothing);
    const path = join(folder, "step-2", "state.json");
    await rm(path);
    const remove = [nothing, () => mkdir(path)]; // not there, and a folder of its name
    for (const next of remove) {
      await next();
      const warnings: string[] = [];
      expect((await latestCheckpoint(folder, (message) => void warnings.push(message), nothing))!.step).toBe(1);
      expect(warnings[0]).toMatch(/step-2.state\.json: not a whole checkpoint: no such file$/);
    }
  });
});
