import { afterEach, describe, expect, it, vi } from "vitest";
import { compileTemplate } from "../../../lib/model/jinja.js";
import { strftime } from "../../../lib/model/python-text.js";

// What Jinja renders is in test/golden/chats.json; here is what a fixture cannot hold.
describe("chat templates' dates", () => {
  const morning = new Date(2026, 2, 5, 9, 7, 3);
  const evening = new Date(2024, 10, 29, 21, 40, 0);
  afterEach(() => void vi.useRealTimers());

  it("are Python's, in English", () => {
    expect(strftime(morning, "%d %b %Y|%B %-d, %Y|%A %a|%Y-%m-%d %H:%M:%S|%-m/%-d/%y|%I:%M %p|100%%")).toBe(
      "05 Mar 2026|March 5, 2026|Thursday Thu|2026-03-05 09:07:03|3/5/26|09:07 AM|100%",
    );
    expect(strftime(evening, "%d %b %Y %a %I %p")).toBe("29 Nov 2024 Fri 09 PM");
  });
  it("are today's", () => {
    const render = compileTemplate("{{ strftime_now('%A %d %B %Y, %H:%M') }}");
    for (const [now, text] of [
      [morning, "Thursday 05 March 2026, 09:07"],
      [evening, "Friday 29 November 2024, 21:40"],
    ] as const) {
      vi.useFakeTimers({ now });
      expect(render({})).toBe(text);
    }
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

describe("a template of a hostile file", () => {
  const repeated = (times: number, inside: string) => `{% for i in range(${times}) %}${inside}{% endfor %}`;
  const grown = (by: string, times = 100) =>
    `{% set ns = namespace(x=['a'], y='a') %}${repeated(times, `{% set ${by} %}`)}`;
  const hostile: [string, string, string][] = [
    ["loops in loops", repeated(9000, repeated(9000, "x")), "expected at most 1000000 steps"],
    ["a macro that calls itself", "{% macro f(f) %}{{ f(f) }}{{ f(f) }}{% endmacro %}{{ f(f) }}", "Maximum call stack"],
    ["a doubled text", grown("ns.y = ns.y ~ ns.y"), "expected at most"],
    ["a doubled list", grown("ns.x = ns.x + ns.x"), "expected at most 100000 items in a list, found 131072"],
    ["a list of itself twice", grown("ns.x = [ns.x, ns.x]"), "expected at most 33554432 letters in a list"],
    ["a namespace in itself", grown("ns.x = [ns]", 1), "expected no namespace in a list"],
    ["replace", `${grown("ns.y = ns.y ~ ns.y", 16)}{{ ns.y.replace('a', ns.y) }}`, "expected at most 33554432 letters"],
    [
      "join",
      `${grown("ns.y = ns.y ~ ns.y", 16)}{{ range(9999) | join(separator=ns.y) }}`,
      "expected at most 33554432 letters",
    ],
    ["indent", "{{ 'a\\nb' | indent(width=400000000) }}", "expected at most 33554432 letters"],
    [
      "split",
      `${grown("ns.y = ns.y ~ ns.y", 18)}{{ ns.y.split('a') }}`,
      "expected at most 100000 items in a list, found 262144",
    ],
    [
      "a long list that is written many times",
      `${grown("ns.x = ns.x + ns.x", 15)}${repeated(1000, "{% if ns.x ~ '' == '' %}{% endif %}")}`,
      "expected at most 1000000 steps",
    ],
    ["megabytes", " ".repeat(1e6), "expected at most 131072 letters, found 1000000"],
  ];
  it.each(hostile)("is refused for %s", (_, source, reason) => {
    expect(() => compileTemplate(source)({})).toThrow(reason);
  });
  it("takes a text of a million letters and a thousand messages", () => {
    const chat =
      "{% for m in messages %}{% if m.role != '' %}{{ '<' ~ m.role ~ '>' ~ m.content | trim }}{% endif %}{% endfor %}";
    const render = compileTemplate(chat);
    expect(render({ messages: [{ role: "user", content: "a".repeat(1e6) }] })).toHaveLength(1e6 + 6);
    expect(render({ messages: Array(1000).fill({ role: "user", content: "a" }) })).toHaveLength(7000);
  });
});

it("nothing is divided by 0", () => {
  expect(() => compileTemplate("{{ 1 % 0 }}")({})).toThrow("expected another divisor than 0");
});

it("a macro writes none, true and false as Python does", () => {
  expect(compileTemplate("{% macro f() %}{{ true }} {{ none }}{% endmacro %}{{ f() }}")({})).toBe("True None");
});
