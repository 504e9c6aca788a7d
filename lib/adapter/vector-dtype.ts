import { roundHalfEven } from "./round-half-even.js";

/**
 * The number formats that v can be kept in. Rounding is to nearest, ties to even, and exact: a double is rounded once.
 *   format   significant bits   least normal exponent   largest finite
 */
const FORMATS = {
  fp32: { bits: 24, exponent: -126, largest: 3.4028234663852886e38, bytes: 4 },
  bf16: { bits: 8, exponent: -126, largest: 3.3895313892515355e38, bytes: 2 },
  fp16: { bits: 11, exponent: -14, largest: 65504, bytes: 2 },
} as const;

export type VectorDtype = keyof typeof FORMATS;
export const VECTOR_DTYPES = Object.keys(FORMATS) as VectorDtype[];

export function bytesOf(dtype: VectorDtype): number {
  return FORMATS[dtype].bytes;
}

/** v as its format holds it. Numbers beyond the format's range become infinite. */
export function roundVector(v: ArrayLike<number>, dtype: VectorDtype): Float32Array {
  if (dtype === "fp32") return Float32Array.from(v);
  if (dtype === "bf16" && v instanceof Float32Array) return floatsToBf16(v);
  const rounded = new Float32Array(v.length);
  for (let i = 0; i < v.length; i++) rounded[i] = roundTo(v[i]!, dtype);
  return rounded;
}

/** The same by whole numbers alone, several times as fast: what full fine-tuning saves are hundreds of millions. */
function floatsToBf16(v: Float32Array): Float32Array {
  const rounded = new Float32Array(v.length);
  const [from, to] = [bitsOf(v), bitsOf(rounded)];
  for (let i = 0; i < from.length; i++) {
    const bits = from[i]!;
    const number = (bits & 0x7fffffff) <= 0x7f800000;
    to[i] = number ? (bits + 0x7fff + ((bits >>> 16) & 1)) & 0xffff0000 : bits | 0x00400000;
  }
  return rounded;
}

function bitsOf(v: Float32Array): Uint32Array {
  return new Uint32Array(v.buffer, v.byteOffset, v.length);
}

/**
 * Up or down at random, with the chance that makes the mean exact: small updates are not lost on the way to few bits.
 * `uniform(i)` in [0, 1) decides number i.
 */
export function roundStochastically(
  v: ArrayLike<number>,
  dtype: VectorDtype,
  uniform: (i: number) => number,
): Float32Array {
  return Float32Array.from(v, (value, i) => roundTo(value, dtype, (scaled) => Math.floor(scaled + uniform(i))));
}

function roundTo(value: number, dtype: VectorDtype, toWhole = roundHalfEven): number {
  if (value === 0 || !Number.isFinite(value)) return value;
  const { bits, exponent, largest } = FORMATS[dtype];
  const magnitude = Math.abs(value);
  const quantum = POWERS[Math.max(exponentOf(magnitude), exponent) - (bits - 1) - LEAST_POWER]!;
  // A double has at most 53 bits and the quotient is scaled by a power of two, so nothing is lost before the rounding.
  const rounded = toWhole(magnitude / quantum) * quantum;
  return Math.sign(value) * (rounded > largest ? Infinity : rounded);
}

const LEAST_POWER = -1074;
/** 2^-1074 to 2^1023. */
const POWERS = Float64Array.from({ length: 1024 - LEAST_POWER }, (_, i) => 2 ** (i + LEAST_POWER));

const scratch = new DataView(new ArrayBuffer(8));

/** floor(log2 |value|); -1023 for values below the normal doubles. */
function exponentOf(value: number): number {
  scratch.setFloat64(0, value);
  return ((scratch.getUint16(0) >> 4) & 0x7ff) - 1023;
}

/** Little-endian bytes of a v that is already rounded; those of fp32 are v's own. */
export function encodeVector(v: Float32Array, dtype: VectorDtype): Uint8Array {
  if (dtype === "fp32") return new Uint8Array(v.buffer, v.byteOffset, v.byteLength);
  const words = new Uint16Array(v.length);
  const bits = bitsOf(v);
  for (let i = 0; i < words.length; i++) words[i] = dtype === "bf16" ? bits[i]! >>> 16 : fp16Bits(v[i]!);
  return new Uint8Array(words.buffer);
}

export function decodeVector(bytes: Uint8Array, dtype: VectorDtype): Float32Array {
  const size = bytesOf(dtype);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return Float32Array.from({ length: Math.floor(bytes.length / size) }, (_, i) => {
    if (dtype === "fp32") return view.getFloat32(4 * i, true);
    const word = view.getUint16(2 * i, true);
    return dtype === "bf16" ? fromBf16(word) : fromFp16(word);
  });
}

function fromBf16(word: number): number {
  scratch.setUint32(0, word << 16);
  return scratch.getFloat32(0);
}

function fp16Bits(value: number): number {
  const sign = value < 0 || Object.is(value, -0) ? 0x8000 : 0;
  const magnitude = Math.abs(value);
  if (Number.isNaN(value)) return 0x7e00;
  if (magnitude === Infinity) return sign | 0x7c00;
  if (magnitude < 2 ** -14) return sign | (magnitude * 2 ** 24);
  const exponent = exponentOf(magnitude);
  return sign | ((exponent + 15) << 10) | (magnitude * POWERS[10 - exponent - LEAST_POWER]! - 1024);
}

function fromFp16(word: number): number {
  const sign = word & 0x8000 ? -1 : 1;
  const exponent = (word >> 10) & 0x1f;
  const fraction = word & 0x3ff;
  if (exponent === 0x1f) return fraction === 0 ? sign * Infinity : Number.NaN;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  return sign * (1024 + fraction) * 2 ** (exponent - 25);
}
