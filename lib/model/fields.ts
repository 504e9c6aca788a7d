import { TinyLoraError } from "../error.js";
import { isObject } from "../is-object.js";
import { show } from "../show.js";

/** Keys and values of a JSON file or of GGUF metadata, read with checks: complaints name the place and the key. */
export class Fields {
  readonly place: string;
  readonly #values: ReadonlyMap<string, unknown>;

  constructor(place: string, values: ReadonlyMap<string, unknown> | Readonly<Record<string, unknown>>) {
    this.place = place;
    this.#values = values instanceof Map ? values : new Map(Object.entries(values));
  }

  /** null counts as absent, as Hugging Face writes it. */
  has(key: string): boolean {
    return this.get(key) !== undefined;
  }
  keys(): string[] {
    return [...this.#values.keys()];
  }
  get(key: string): unknown {
    return this.#values.get(key) ?? undefined;
  }

  /** Whether the key is there, be it with null. */
  mentions(key: string): boolean {
    return this.#values.has(key);
  }

  /** A whole number from 1 to `most`. */
  count(key: string, fallback?: number, most = 2 ** 31 - 1): number {
    const value = this.#number(key, fallback);
    if (!Number.isInteger(value) || value < 1 || value > most) this.fail(key, `a whole number from 1 to ${most}`);
    return value;
  }
  /** A finite number above zero. */
  positive(key: string, fallback?: number): number {
    const value = this.#number(key, fallback);
    if (!Number.isFinite(value) || value <= 0) this.fail(key, "a finite number above 0");
    return value;
  }
  /** A finite number, 0 or more. */
  notNegative(key: string, fallback?: number): number {
    const value = this.#number(key, fallback);
    if (!Number.isFinite(value) || value < 0) this.fail(key, "a finite number, 0 or more");
    return value;
  }
  flag(key: string, fallback: boolean): boolean {
    const value = this.get(key) ?? fallback;
    if (typeof value !== "boolean") this.fail(key, "true or false");
    return value;
  }
  text(key: string, fallback?: string): string {
    const value = this.get(key) ?? fallback;
    if (typeof value !== "string") this.fail(key, "a string");
    return value;
  }
  /** A token's id, where there is one. */
  tokenId(key: string): number | undefined {
    if (!this.has(key)) return undefined;
    const value = this.#number(key);
    if (!Number.isInteger(value) || value < 0) this.fail(key, "a token id, 0 or more");
    return value;
  }
  list(key: string): readonly unknown[] {
    const value = this.get(key);
    if (!Array.isArray(value)) this.fail(key, "a list");
    return value;
  }
  texts(key: string): readonly string[] {
    const value = this.list(key);
    if (!value.every((item) => typeof item === "string")) this.fail(key, "a list of strings");
    return value as string[];
  }
  numbers(key: string): readonly number[] {
    const value = this.list(key);
    if (!value.every((item) => typeof item === "number")) this.fail(key, "a list of numbers");
    return value as number[];
  }
  object(key: string): Fields {
    const value = this.get(key);
    if (!isObject(value)) this.fail(key, "an object");
    return new Fields(`${this.place}: ${key}`, value);
  }

  /** Refuses the value of a key. */
  fail(key: string, expected: string): never {
    const found = this.has(key) ? show(this.get(key)) : "nothing";
    throw new TinyLoraError("ERR_MODEL", `${this.place}: ${key}: expected ${expected}, found ${found}`);
  }

  #number(key: string, fallback?: number): number {
    const value = this.get(key) ?? fallback;
    if (typeof value === "bigint") return Number(value);
    if (typeof value !== "number") this.fail(key, "a number");
    return value;
  }
}

/** The entry of a literal table, never what all objects inherit. */
export function lookup<T>(table: Readonly<Record<string, T>>, key: unknown): T | undefined {
  return typeof key === "string" && Object.hasOwn(table, key) ? table[key] : undefined;
}
