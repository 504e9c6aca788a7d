import { crc32 } from "node:zlib";
import { TinyLoraError } from "../error.js";
import { MODULE_TYPES } from "./modules.js";
import { type AdapterSpec, adapterSpec, DISTRIBUTIONS, KIND_NAMES, SPLITS } from "./spec.js";
import { makeTying, TYING_KINDS, type Tying } from "./tying.js";
import { bytesOf, decodeVector, encodeVector, VECTOR_DTYPES } from "./vector-dtype.js";

/** What a short string says: with the base model's weights it makes the whole adapter. */
export interface AdapterFacts {
  readonly spec: AdapterSpec;
  /** 16 hex digits over the base model's weights. */
  readonly fingerprint: string;
  readonly svdRecipe: number;
  readonly v: Float32Array;
}

/** The 1 is the version of the layout. */
export const SHORT_PREFIX = "tl1-";

/**
 * An adapter as text to paste: the prefix, then base64url of
 *   1 byte   kind (low 4 bits), split (bit 4)
 *   1 byte   tying (low 4 bits), distribution of P (high 4)
 *   1 byte   dtype of v
 *   1 byte   targets, bit i = MODULE_TYPES[i]
 *   varints  r, u, recipe of the SVD, seed of P; n_tie for structured and tiled
 *   8 bytes  the ratio as a double, for tying by ratio
 *   8 bytes  fingerprint of the base model
 *   v        in its dtype, little-endian
 *   4 bytes  CRC-32 of the prefix and everything before: it finds every error within 32 bits, so any changed character
 */
export function encodeShort({ spec, fingerprint, svdRecipe, v }: AdapterFacts): string {
  const tying = spec.tying;
  const payload = Buffer.concat([
    Buffer.from([
      KIND_NAMES.indexOf(spec.kind) | (SPLITS.indexOf(spec.split) << 4),
      TYING_KINDS.indexOf(tying.kind) | (DISTRIBUTIONS.indexOf(spec.projection.distribution) << 4),
      VECTOR_DTYPES.indexOf(spec.dtype),
      MODULE_TYPES.reduce((bits, type, i) => bits | (spec.targetModules.includes(type) ? 1 << i : 0), 0),
    ]),
    ...[spec.r, spec.u, svdRecipe, spec.projection.seed].map(varint),
    "nTie" in tying ? varint(tying.nTie) : Buffer.alloc(0),
    "ratio" in tying ? double(tying.ratio) : Buffer.alloc(0),
    Buffer.from(fingerprint, "hex"),
    encodeVector(v, spec.dtype),
  ]);
  return SHORT_PREFIX + Buffer.concat([payload, checksum(payload)]).toString("base64url");
}

export function decodeShort(text: string): AdapterFacts {
  const bytes = Buffer.from(text.slice(SHORT_PREFIX.length), "base64url");
  const payload = bytes.subarray(0, -4);
  const whole = text.startsWith(SHORT_PREFIX) && bytes.toString("base64url") === text.slice(SHORT_PREFIX.length);
  if (!whole || bytes.length < 8 || !checksum(payload).equals(bytes.subarray(-4))) {
    throw refusal(text, "a character was changed, lost or added (the checksum does not match)");
  }
  const reader = new Reader(payload);
  try {
    const facts = readFacts(reader);
    if (!facts.v.every(Number.isFinite)) throw new RangeError("v is not finite");
    return facts;
  } catch (error) {
    throw refusal(text, `made by another version of this package (${(error as Error).message})`, error);
  }
}

function readFacts(reader: Reader): AdapterFacts {
  const [first, second, third, bits] = [reader.byte(), reader.byte(), reader.byte(), reader.byte()];
  const [r, u, svdRecipe, seed] = [reader.varint(), reader.varint(), reader.varint(), reader.varint()];
  const spec = adapterSpec({
    kind: pick(KIND_NAMES, first & 15),
    r,
    u,
    tying: readTying(pick(TYING_KINDS, second & 15), reader),
    split: pick(SPLITS, first >> 4),
    projection: { seed, distribution: pick(DISTRIBUTIONS, second >> 4) },
    targetModules: MODULE_TYPES.filter((_, i) => bits & (1 << i)),
    dtype: pick(VECTOR_DTYPES, third),
  });
  const fingerprint = reader.take(8).toString("hex");
  const rest = reader.rest();
  if (rest.length === 0 || rest.length % (spec.u * bytesOf(spec.dtype)) !== 0) {
    throw new RangeError(`${rest.length} bytes are no whole number of vectors`);
  }
  return { spec, fingerprint, svdRecipe, v: decodeVector(rest, spec.dtype) };
}

function readTying(kind: Tying["kind"], reader: Reader): Tying {
  switch (kind) {
    case "structured":
    case "tiled":
      return makeTying(kind, reader.varint());
    case "ratio":
      return makeTying(kind, undefined, reader.take(8).readDoubleLE(0));
    default:
      return makeTying(kind);
  }
}

function refusal(text: string, why: string, cause?: unknown): TinyLoraError {
  const shown = (text.length > 24 ? `${text.slice(0, 24)}...` : text).replace(/\s/g, " ");
  return new TinyLoraError("ERR_ADAPTER", `the adapter string ${shown} cannot be read: ${why}`, { cause });
}

function checksum(payload: Uint8Array): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(crc32(payload, crc32(SHORT_PREFIX)));
  return bytes;
}

/** Base 128, low digits first; safe integers only. */
function varint(value: number): Buffer {
  const digits: number[] = [];
  let rest = value;
  do {
    digits.push((rest % 128) + (rest >= 128 ? 128 : 0));
    rest = Math.floor(rest / 128);
  } while (rest > 0);
  return Buffer.from(digits);
}

function double(value: number): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeDoubleLE(value);
  return bytes;
}

function pick<T>(names: readonly T[], number: number): T {
  const name = names[number];
  if (name === undefined) throw new RangeError(`unknown number ${number}`);
  return name;
}

class Reader {
  #bytes: Buffer;
  #at = 0;

  constructor(bytes: Buffer) {
    this.#bytes = bytes;
  }

  take(count: number): Buffer {
    if (this.#at + count > this.#bytes.length) throw new RangeError("it ends too early");
    this.#at += count;
    return this.#bytes.subarray(this.#at - count, this.#at);
  }
  rest(): Buffer {
    return this.#bytes.subarray(this.#at);
  }
  byte(): number {
    return this.take(1)[0]!;
  }
  varint(): number {
    let value = 0;
    for (let scale = 1; ; scale *= 128) {
      const digit = this.byte();
      value += (digit & 127) * scale;
      if (value > Number.MAX_SAFE_INTEGER) throw new RangeError("a number is too large");
      if (digit < 128) return value;
    }
  }
}
