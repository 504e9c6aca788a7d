// What flags take and what they refuse, without starting the command line for each.
import { Command } from "commander";
import { describe, expect, it } from "vitest";
import {
  countTo,
  parseCount,
  parseCounts,
  parseDivisor,
  parseName,
  parseNames,
  parseNumber,
  parseTemperature,
} from "../../bin/arguments.js";
import { addFields, checkSampled, givenFields } from "../../bin/flags.js";

type Parse = (text: string) => unknown;

it.each<[string, Parse, string, unknown]>([
  ["a count", parseCount, "1", 1],
  ["counts", parseCounts, "1,8,64", [1, 8, 64]],
  ["a count up to 16", countTo(16), "16", 16],
  ["names", parseNames, " gsm8k, svamp,gsm8k", ["gsm8k", "svamp"]],
  ["a name", parseName, "my runs/a", "my runs/a"],
  ["a temperature", parseTemperature, "0", 0],
  ["a divisor", parseDivisor, "0.5", 0.5],
  ["a number", parseNumber, "-1e-3", -0.001],
])("%s can be given as %j %j", (_, parse, text, value) => {
  expect(parse(text)).toEqual(value);
});

it.each<[string, Parse, readonly string[], string]>([
  ["a count", parseCount, ["0", "1.5", "two", ""], "Expected a whole number from 1."],
  ["counts", parseCounts, ["1,", "8,0"], "Expected a whole number from 1."],
  ["a count up to 16", countTo(16), ["17"], "Expected at most 16."],
  ["names", parseNames, ["", "gsm8k,", "gsm8k, ,svamp"], "Expected names with commas between them."],
  ["a name", parseName, ["", " "], "Expected a name, found none."],
  ["a temperature", parseTemperature, ["-0.1", "1e-40"], "Expected 0 (greedy), or 1e-30 to 1e+30."],
  ["a divisor", parseDivisor, ["0", "-1", "1e-40"], "Expected 1e-30 to 1e+30."],
  ["a number", parseNumber, ["", " ", "warm", "Infinity"], "Expected a number."],
])("%s refuses %j %j", (_, parse, texts, message) => {
  for (const text of texts) expect(() => parse(text), JSON.stringify(text)).toThrow(message);
});

describe("flags that choose by chance", () => {
  const given = (...args: string[]) => {
    const command = new Command("eval");
    addFields(command, ["seed", "top_p", "top_k", "min_p", "threads"]);
    return command.parse(args, { from: "user" });
  };

  it("are refused where the likeliest token is taken, each by its name", () => {
    expect(() => checkSampled(given("--seed", "1"), 0)).toThrow(
      /^--seed has no effect with greedy decoding \(temperature 0\)$/,
    );
    const many = given("--seed", "1", "--top-p", "0.9", "--top-k", "5", "--min-p", "0.1", "--threads", "1");
    expect(() => checkSampled(many, 0)).toThrow(/^--top-p, --top-k, --min-p, --seed have no effect with greedy/);
  });

  it("are taken by any other temperature", () => {
    checkSampled(given("--seed", "1", "--top-p", "0.9"), 0.1);
    checkSampled(given("--threads", "1"), 0);
  });
});

it.each<[flags: readonly string[], stop: readonly string[] | undefined]>([
  [[], undefined],
  [["--stop", "\n\n"], ["\n\n"]],
  [
    ["--stop", "Well, no", "--stop", " END"],
    ["Well, no", " END"],
  ],
  [["--stop", ""], []],
])("%j are the texts %j that end a completion", (flags, stop) => {
  const command = new Command("generate");
  addFields(command, ["stop", "seed"]);
  expect(givenFields(command.parse([...flags, "--seed", "1"], { from: "user" }))).toEqual({
    seed: 1,
    ...(stop && { stop }),
  });
});
