/** @file The number formats of tensors, written from their definitions and not from the library: what the tests believe. */
import { type DataOf, type DType, isQuantized } from "../../lib/tensor/dtype.js";

interface Format {
  /** Significant bits, the implicit one included. */
  readonly digits: number;
  /** Exponent of the smallest normal number. */
  readonly least: number;
  readonly largest: number;
}

const formats: Readonly<Record<"bf16" | "f16", Format>> = {
  bf16: { digits: 8, least: -126, largest: (2 - 2 ** -7) * 2 ** 127 },
  f16: { digits: 11, least: -14, largest: 65504 },
};

const bits = new DataView(new ArrayBuffer(8));

/** floor(log2 |x|) of a finite number that is not 0, exactly. */
function exponentOf(x: number): number {
  bits.setFloat64(0, x);
  const biased = (bits.getUint32(0) >>> 20) & 0x7ff;
  return biased === 0 ? -1075 : biased - 1023;
}

function roundTiesEven(x: number): number {
  const low = Math.floor(x);
  const rest = x - low;
  return rest > 0.5 || (rest === 0.5 && low % 2 !== 0) ? low + 1 : low;
}

/** The number of type `dtype` nearest to x, ties to even; of quantised types f32, which they are made of. 16-bit types are reached through f32, as the kernels do. */
export function roundTo(dtype: DType, x: number): number {
  if (dtype === "i32" || dtype === "u8") return x;
  const single = Math.fround(x);
  if (dtype === "f32" || isQuantized(dtype) || !Number.isFinite(single) || single === 0) return single;
  const { digits, least, largest } = formats[dtype];
  const quantum = 2 ** (Math.max(exponentOf(single), least) - digits + 1);
  const rounded = roundTiesEven(single / quantum) * quantum;
  return Math.abs(rounded) > largest ? Math.sign(single) * Number.POSITIVE_INFINITY : rounded;
}

/** The value of a 16-bit pattern: sign, exponent, fraction. */
export function valueOf(dtype: "bf16" | "f16", pattern: number): number {
  const { digits, least } = formats[dtype];
  const fractionBits = digits - 1;
  const exponentMask = 2 ** (15 - fractionBits) - 1;
  const sign = pattern & 0x8000 ? -1 : 1;
  const exponent = (pattern >>> fractionBits) & exponentMask;
  const fraction = (pattern & (2 ** fractionBits - 1)) / 2 ** fractionBits;
  if (exponent === exponentMask) return fraction > 0 ? Number.NaN : sign * Number.POSITIVE_INFINITY;
  return exponent === 0 ? sign * fraction * 2 ** least : sign * (1 + fraction) * 2 ** (least + exponent - 1);
}

const patterns: Record<"bf16" | "f16", Map<number, number>> = { bf16: new Map(), f16: new Map() };
for (const dtype of ["bf16", "f16"] as const) {
  // Downwards, so that NaN and zero end with their plainest pattern.
  for (let pattern = 0xffff; pattern >= 0; pattern--) patterns[dtype].set(valueOf(dtype, pattern), pattern);
}

/** The array that `tensor` takes for these values, which must already be numbers of the type. */
export function encode<D extends DType>(dtype: D, values: ArrayLike<number>): DataOf[D];
export function encode(dtype: DType, values: ArrayLike<number>): DataOf[DType] {
  if (dtype === "f32") return Float32Array.from(values);
  if (dtype === "i32") return Int32Array.from(values);
  if (dtype === "u8") return Uint8Array.from(values);
  if (isQuantized(dtype)) throw new Error(`${dtype} does not follow from single numbers`);
  return Uint16Array.from(values, (value) => {
    const pattern = patterns[dtype].get(value);
    if (pattern === undefined) throw new Error(`${value} is not a number of ${dtype}`);
    return pattern;
  });
}

/** The numbers in what `data()` gives. */
export function decode(dtype: DType, data: ArrayLike<number>): Float64Array {
  return dtype === "bf16" || dtype === "f16" ? Float64Array.from(data, (pattern) => valueOf(dtype, pattern)) : Float64Array.from(data);
}

/** Whether two numbers are the same up to the sign of zero; NaN equals NaN. */
export const sameNumber = (a: number, b: number): boolean => a === b || (Number.isNaN(a) && Number.isNaN(b));
