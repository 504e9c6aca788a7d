import { describe, expect, it } from "vitest";
import { compileTemplate } from "../../../lib/model/jinja.js";
import { strftime } from "../../../lib/model/python-text.js";

// What Jinja renders is in test/golden/chats.json; here is what a fixture cannot hold.
describe("chat templates' dates", () => {
  const morning = new Date(2026, 2, 5, 9, 7, 3);
  const evening = new Date(2024, 10, 29, 21, 40, 0);

  it("are Python's, in English", () => {
    expect(strftime(morning, "%d %b %Y|%B %-d, %Y|%A %a|%Y-%m-%d %H:%M:%S|%-m/%-d/%y|%I:%M %p|100%%")).toBe(
      "05 Mar 2026|March 5, 2026|Thursday Thu|2026-03-05 09:07:03|3/5/26|09:07 AM|100%",
    );
    expect(strftime(evening, "%d %b %Y %a %I %p")).toBe("29 Nov 2024 Fri 09 PM");
  });
  it("are today's", () => {
    const day = compileTemplate("{{ strftime_now('%A') }}")({});
    expect(["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"]).toContain(day);
  });
  it("are refused where the code is not known", () => {
    expect(() => compileTemplate("{{ strftime_now('%Q') }}")({})).toThrow("unknown code %Q");
  });
});

describe("a range", () => {
  const count = (range: string) => compileTemplate(`{% for i in range(${range}) %}{{ i }} {% endfor %}`)({});

  it("is Python's, and as long as Jinja's sandbox allows", () => {
    expect([count("3"), count("1, 4"), count("5, 0, -2"), count("2, 1")]).toEqual(["0 1 2 ", "1 2 3 ", "5 3 1 ", ""]);
    expect(() => count("100001")).toThrow("expected at most 100000 numbers");
    expect(() => count("1, 2, 0")).toThrow("expected at most 100000 numbers");
  });
});
