import { getEventListeners } from "node:events";
import { expect, it } from "vitest";
import { follower, onAbort, orAborted } from "../../../lib/native/on-abort.js";

const reason = new Error("enough");
const listeners = (signal: AbortSignal) => getEventListeners(signal, "abort").length;

it("a signal has one listener for all who wait for it, and none when nobody does", () => {
  const controller = new AbortController();
  const told: number[] = [];
  const ends = [1, 2, 3].map((who) => onAbort(controller.signal, () => void told.push(who)));
  expect(listeners(controller.signal)).toBe(1);
  for (const end of ends) end();
  expect(listeners(controller.signal)).toBe(0);
  const [first] = [4, 5].map((who) => onAbort(controller.signal, () => void told.push(who)));
  first!();
  controller.abort();
  expect(told).toEqual([5]);
});

it("a follower is aborted with its signal, before or after, and alone", () => {
  expect(follower(AbortSignal.abort(reason)).signal.reason).toBe(reason);
  expect(follower(undefined).signal.aborted).toBe(false);
  const controller = new AbortController();
  const [left, right] = [follower(controller.signal), follower(controller.signal)];
  left.abort();
  expect(right.signal.aborted).toBe(false);
  controller.abort(reason);
  expect(right.signal.reason).toBe(reason);
  expect(listeners(controller.signal)).toBe(0);
});

it("a promise is waited for until the signal", async () => {
  const controller = new AbortController();
  expect(await orAborted(Promise.resolve(1), controller.signal)).toBe(1);
  const never = orAborted(new Promise(() => {}), controller.signal);
  controller.abort(reason);
  await expect(never).rejects.toBe(reason);
  await expect(orAborted(Promise.resolve(1), controller.signal)).rejects.toBe(reason);
  // What comes too late is nobody's: it would end the process if it were not taken.
  await expect(orAborted(Promise.reject(new Error("late")), controller.signal)).rejects.toBe(reason);
  await new Promise(setImmediate);
});
