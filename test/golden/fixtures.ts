// Fixtures that make_golden.py wrote, as typed values.
import { createHash } from "node:crypto";
import { existsSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import type { AdapterKindName } from "../../lib/adapter/spec.js";
import type { Message } from "../../lib/model/open.js";

export const golden = (name: string) => fileURLToPath(new URL(name, import.meta.url));
export const shared = (name: string) => fileURLToPath(new URL(`../../../shared/${name}`, import.meta.url));
export const smollm2 = shared("models/SmolLM2-135M-Instruct");
export const noSmollm2 = !existsSync(smollm2);
/** The name of a test that needs SmolLM2, with the reason where it is left out. */
export const onSmollm2 = (name: string) => (noSmollm2 ? `${name} (left out: ../shared/models is not there)` : name);

export interface Tokens {
  readonly gsm8k: string[];
  readonly odd: { text: string; ids: number[]; decoded: string }[];
  readonly mixtures: { text: string; hash: string }[];
}
/** tokenizer.json by name, with hashes of the ids of the odd texts in tokens.json, and of what these decode to. */
export type Pipelines = Readonly<Record<string, Pipeline>>;
interface Pipeline {
  readonly json: Record<string, unknown>;
  readonly ids: string[];
  readonly decoded: string[];
  /** The added tokens, decoded together. */
  readonly added: { ids: number[]; text: string };
}
export interface Chats {
  readonly templates: Record<string, string>;
  readonly specialTokens: Record<string, string>;
  /** A text of null: Jinja refuses. */
  readonly chats: { template: string; messages: Message[]; addGenerationPrompt: boolean; text: string | null }[];
}
export interface TinyModel {
  /** Hashes of the ids of the odd texts and mixtures in tokens.json. */
  readonly tokens: string[];
  readonly base: { ids: number[]; logprobs: string }[];
  readonly adapters: AdapterCase[];
}
export interface AdapterCase {
  readonly u: number;
  readonly modules: { module: number; group: number; a: string; b: string; p: string }[];
  readonly v: string[];
  readonly sequences: { tokens: number[]; parent: number; slot: number; scored: number; temperature: number }[];
  readonly logprobs: number[];
  readonly coefficients: string;
  readonly gradients: number[][];
}

/** Log-probabilities under LoRA files that were exported from random-adapter.ts. */
export interface LlamaCppFixture {
  readonly version: string;
  readonly cases: readonly {
    /** A .gguf file among the fixtures. */
    readonly model: string;
    readonly kind: AdapterKindName;
    readonly ids: number[];
    /** Of the exported file. */
    readonly sha256: string;
    /** llama.cpp's of ids[1 ..], with the file and without. */
    readonly logprobs: number[];
    readonly base: number[];
  }[];
}

export function readFixture<T>(name: string): T {
  return JSON.parse(readFileSync(golden(name), "utf8")) as T;
}

/** base64 of little-endian float32. */
export function floats(text: string): Float32Array {
  const bytes = Buffer.from(text, "base64");
  return Float32Array.from({ length: bytes.length / 4 }, (_, i) => bytes.readFloatLE(4 * i));
}

export function hashIds(ids: Int32Array): string {
  return createHash("sha256")
    .update(Buffer.from(ids.buffer, ids.byteOffset, ids.byteLength))
    .digest("hex")
    .slice(0, 12);
}
