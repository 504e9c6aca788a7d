import { InvalidArgumentError } from "commander";
import { LEAST_TEMPERATURE, MOST_TEMPERATURE } from "../lib/config/schema.js";

/** A whole number from 1. */
export function parseCount(text: string): number {
  const value = Number(text);
  if (!Number.isSafeInteger(value) || value < 1) throw new InvalidArgumentError("Expected a whole number from 1.");
  return value;
}

/** Reads a whole number from 1 to `most`. */
export function countTo(most: number): (text: string) => number {
  return (text) => {
    const value = parseCount(text);
    if (value > most) throw new InvalidArgumentError(`Expected at most ${most}.`);
    return value;
  };
}

/** Whole numbers from 1 with commas between them, each once. */
export function parseCounts(text: string): number[] {
  return [...new Set(text.split(",").map(parseCount))];
}

/** Names with commas between them, at least one. */
export function parseNames(text: string): string[] {
  const names = text.split(",").map((name) => name.trim());
  if (names.includes("")) throw new InvalidArgumentError("Expected names with commas between them.");
  return [...new Set(names)];
}

/** The name of something: an empty one is most often a variable that was not set. */
export function parseName(text: string): string {
  if (text.trim() === "") throw new InvalidArgumentError("Expected a name, found none.");
  return text;
}

/** A temperature of sampling: 0 is greedy. */
export function parseTemperature(text: string): number {
  const value = parseNumber(text);
  if (value === 0 || isTemperature(value)) return value;
  throw new InvalidArgumentError(`Expected 0 (greedy), or ${TEMPERATURES}.`);
}

/** A temperature that logits are divided by. */
export function parseDivisor(text: string): number {
  const value = parseNumber(text);
  if (isTemperature(value)) return value;
  throw new InvalidArgumentError(`Expected ${TEMPERATURES}.`);
}

const TEMPERATURES = `${LEAST_TEMPERATURE} to ${MOST_TEMPERATURE}`;

function isTemperature(value: number): boolean {
  return value >= LEAST_TEMPERATURE && value <= MOST_TEMPERATURE;
}

export function parseNumber(text: string): number {
  const value = Number(text);
  if (text.trim() === "" || !Number.isFinite(value)) throw new InvalidArgumentError("Expected a number.");
  return value;
}
