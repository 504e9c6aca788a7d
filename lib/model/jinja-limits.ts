// What a template may take of time and memory, in counts: a file's may double a list, or have loops in loops. Jinja's own
// sandbox, which transformers uses, limits `range` alone.
import { byPlace, isList, isMapping, isNamespace, isText, type Node, type Value } from "./jinja-values.js";
import { countOf } from "./python-text.js";

/** A published template takes some hundred steps a message. */
const MOST_STEPS = 1_000_000;
/** Of what is written, and of what one list or mapping holds: some million tokens. */
const MOST_LETTERS = 2 ** 25;
/** Jinja's limit of `range`. */
const MOST_ITEMS = 100_000;
/** What an item counts for among letters. */
const ITEM = 32;
/** Letters, and items of a list, that are gone through in the time of a step. */
const [LETTERS_A_STEP, ITEMS_A_STEP] = [128, 16];

/** Of one rendering. Its methods throw where a limit is passed. */
export class JinjaLimits {
  #steps = 0;
  #letters = 0;
  readonly #weights = new WeakMap<Value, number>();

  step(count = 1): void {
    this.#steps += count;
    if (this.#steps > MOST_STEPS) throw new Error(`expected at most ${MOST_STEPS} steps, found more`);
  }

  /** Letters of a text that is made, before they take memory where their number is known. */
  write(letters: number): void {
    this.#letters += letters;
    if (!(this.#letters <= MOST_LETTERS)) throw new Error(`expected at most ${MOST_LETTERS} letters, found more`);
  }

  items(count: number): void {
    if (count > MOST_ITEMS) throw new Error(`expected at most ${MOST_ITEMS} items in a list, found ${count}`);
  }

  /** A value that a step has come to: what follows may look at each letter of a text, or at each item of a list. */
  take(value: Value): void {
    if (isText(value)) this.step(Math.floor(value.value.length / LETTERS_A_STEP));
    else {
      const held = this.#weigh(value);
      if (held > MOST_LETTERS) {
        throw new Error(`expected at most ${MOST_LETTERS} letters in a list, each item for ${ITEM}, found ${held}`);
      }
      this.step(Math.floor(sizeOf(value) / ITEMS_A_STEP));
    }
  }

  /** A value of which all that it holds is gone through, lists in lists too. */
  through(value: Value): void {
    if (!isText(value)) this.step(Math.floor(this.#weigh(value) / LETTERS_A_STEP));
  }

  /** What a filter or a method will make, where that may be far more than it is given. */
  before(which: string, operand: Value, args: readonly Node[]): void {
    const values = [...byPlace(args), ...args.flatMap(({ value }) => byPlace([value as Node]))];
    const texts = values.filter(isText).map(({ value }) => value);
    const numbers = values.filter(({ type }) => type === "IntegerValue").map(({ value }) => Number(value));
    if (["tojson", "string", "join"].includes(which)) this.through(operand);
    if (which === "sort" || which === "dictsort") this.step(sizeOf(operand));
    const widest = Math.max(4, ...numbers);
    if (which === "join") this.write(this.#weigh(operand) + sizeOf(operand) * (texts[0]?.length ?? 0));
    if (which === "tojson" && numbers.length > 0) this.write(this.#weigh(operand) * widest);
    if (!isText(operand)) return;
    const [found = "", put = ""] = texts;
    if (which === "replace") this.write(countOf(operand.value, found) * put.length);
    if (which === "indent") this.write(countOf(operand.value, "\n") * widest);
    if (which === "split") this.items(countOf(operand.value, found === "" ? " " : found));
  }

  /**
   * Letters and items of all that a value holds, as often as it holds them: writing or comparing it goes through all. Lists
   * and mappings never change, so each is counted once.
   */
  #weigh(value: Value): number {
    if (isText(value)) return value.value.length;
    if (!isList(value) && !isMapping(value) && !isNamespace(value)) return 0;
    const known = this.#weights.get(value);
    if (known !== undefined) return known;
    this.items(sizeOf(value));
    let weight = 0;
    for (const item of value.value.values()) {
      if (isNamespace(item)) throw new Error("expected no namespace in a list, a mapping or another namespace");
      weight += ITEM + this.#weigh(item);
    }
    if (!isNamespace(value)) this.#weights.set(value, weight);
    return weight;
  }
}

function sizeOf(value: Value): number {
  if (isText(value)) return value.value.length;
  if (isList(value)) return value.value.length;
  return isMapping(value) || isNamespace(value) ? value.value.size : 0;
}
