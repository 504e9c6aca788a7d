import { expect, it } from "vitest";
import { checkMayAttach, claim } from "../../../lib/claim.js";

const refusal = { code: "ERR_STATE", message: expect.stringMatching(/^engine: another run is training on it/) };
const refused = (policy: object) => {
  try {
    claim(policy).release();
    return null;
  } catch (error) {
    return error;
  }
};

it("an engine is one run's, or that of members of a population, each of which has one", () => {
  const engine = {};
  const [first, second] = [{ engine }, { engine }];
  const whole = claim(engine);
  for (const other of [engine, first]) expect(refused(other)).toMatchObject(refusal);
  expect(refused({})).toBeNull();
  whole.release();
  const one = claim(first);
  for (const other of [engine, first]) expect(refused(other)).toMatchObject(refusal);
  expect(refused(second)).toBeNull();
  one.release();
  expect(refused(engine)).toBeNull();
});

it("nothing is attached while a run has attached its own", () => {
  const engine = {};
  const runs = [claim({ engine }), claim({ engine })];
  expect(() => checkMayAttach(engine)).not.toThrow();
  runs[1]!.fixAdapters();
  expect(() => checkMayAttach(engine, "replace")).toThrow(/^replace: a run is training on this engine: wait/);
  runs[1]!.release();
  expect(() => checkMayAttach(engine)).not.toThrow();
});
