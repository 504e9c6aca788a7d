// What @huggingface/tokenizers takes as it is and then loops on, fills memory with or does not do.
import { TinyLoraError } from "../error.js";
import { isObject } from "../is-object.js";
import { show } from "../show.js";
import type { TokenizerSource } from "./tokenizer.js";

/** Every id is that of a row of the embedding, every added token a text, every step gets on. */
export function checkTokenizer(source: TokenizerSource): void {
  const { model, added_tokens: added } = source.json;
  if (isObject(model) && isObject(model.vocab)) {
    for (const [text, id] of Object.entries(model.vocab)) checkId(source, `token ${show(text)}`, id);
  }
  for (const token of Array.isArray(added) ? added : []) {
    if (!isObject(token) || typeof token.content !== "string") {
      refuse(source, `added_tokens: expected objects with a content, found ${show(token)}`);
    }
    checkId(source, `added token ${show(token.content)}`, token.id);
    if (token.single_word) {
      refuse(
        source,
        `added token ${show(token.content)}: single_word: expected false, found ${show(token.single_word)}`,
      );
    }
  }
  for (const part of ["normalizer", "pre_tokenizer", "decoder"]) checkStep(source, part, source.json[part]);
}

function checkId(source: TokenizerSource, token: string, id: unknown): void {
  if (Number.isInteger(id) && (id as number) >= 0 && (id as number) < source.vocab) return;
  refuse(source, `${token}: expected an id below ${source.vocab}, found ${show(id)}`);
}

function checkStep(source: TokenizerSource, part: string, step: unknown): void {
  if (!isObject(step)) return;
  const inner = step.normalizers ?? step.pretokenizers ?? step.decoders;
  if (Array.isArray(inner)) for (const one of inner) checkStep(source, part, one);
  if (step.type === "FixedLength" && !(Number.isInteger(step.length) && (step.length as number) > 0)) {
    refuse(source, `${part}: length: expected a whole number from 1, found ${show(step.length)}`);
  }
  if (step.type !== "Split" && step.type !== "Replace") return;
  const { Regex: regex, String: text } = isObject(step.pattern) ? step.pattern : {};
  if (typeof (regex ?? text) === "string") return;
  refuse(
    source,
    `${part}: pattern of ${step.type}: expected a text under Regex or String, found ${show(step.pattern)}`,
  );
}

function refuse({ place }: TokenizerSource, message: string): never {
  throw new TinyLoraError("ERR_MODEL", `${place}: ${message}`);
}
