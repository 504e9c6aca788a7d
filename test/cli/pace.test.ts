import { expect, it } from "vitest";
import { Pace } from "../../bin/pace.js";

it("counts from where it began or was first looked at, and knows nothing before something is done", () => {
  const pace = new Pace();
  expect([pace.rate(), pace.left(10, 0)]).toEqual([null, null]);
  pace.mark(50, 1000);
  expect([pace.rate(), pace.left(150, 9000)]).toEqual([null, null]);
  pace.mark(52, 5000);
  expect(pace.rate()).toBe(0.5);
  expect(pace.left(150, 5000)).toBe(196);
  expect(pace.left(150, 6000)).toBe(195); // time goes on within a step
  expect(pace.left(52, 9000)).toBe(0);

  const whole = new Pace({ done: 0, at: 0 });
  whole.mark(4, 2000);
  expect([whole.rate(), whole.left(6, 2000)]).toEqual([2, 1]);
});
