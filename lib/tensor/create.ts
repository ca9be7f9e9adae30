/** @file Tensors from JavaScript data, and constants. */
import { engine } from "../native/engine.js";
import { checkNames, LowrankError } from "../native/errors.js";
import { type DType, dtypes, isDType, isQuantized } from "./dtype.js";
import { checkShape, type Dyn, elementsOf, type Known, shapeText } from "./shape.js";
import type { StorageKind } from "./storage.js";
import { empty, type Tensor } from "./tensor.js";

/** What a tensor can be made of. Numbers are converted to the dtype; typed arrays must be of its own type. */
export type TensorData = readonly number[] | Float32Array | Float64Array | Int32Array | Uint8Array | Uint16Array;

export interface TensorOptions<D extends DType> {
  /** Default: f32; i32 for an Int32Array, u8 for a Uint8Array. bf16 and f16 take their bit patterns as a Uint16Array, or numbers. */
  readonly dtype?: D;
}

type DefaultDType<A> = A extends Int32Array ? "i32" : A extends Uint8Array ? "u8" : "f32";

/**
 * A tensor with a copy of `data`, row-major, in the given shape.
 * @throws LowrankError BAD_SHAPE when the number of elements differs; BAD_DTYPE when the array cannot hold that type; BAD_ARGUMENT,
 * UNKNOWN_OPTION.
 */
export function tensor<const S extends readonly number[], A extends TensorData, D extends DType = DefaultDType<A>>(
  data: A,
  shape: S,
  options: TensorOptions<D> = {},
): Tensor<Known<S>, NoInfer<D>> {
  checkShape(shape, "tensor");
  checkOptions("tensor", options);
  const dtype = (options.dtype ?? defaultDType(data)) as D;
  checkDType("tensor", dtype);
  if (data.length !== elementsOf(shape)) {
    throw new LowrankError("BAD_SHAPE", `tensor: ${shapeText(shape)} has ${elementsOf(shape)} elements, the data ${data.length}`, {
      expected: elementsOf(shape),
      actual: data.length,
    });
  }
  return fromBytes(bytesOf(data, dtype), shape, dtype) as Tensor<Known<S>, D>;
}

/** A tensor of zeros (f32 unless told otherwise). */
export function zeros<const S extends readonly number[], D extends DType = "f32">(
  shape: S,
  options: TensorOptions<D> = {},
): Tensor<Known<S>, NoInfer<D>> {
  return constant("zeros", shape, 0, options);
}

/** A tensor of ones (f32 unless told otherwise). */
export function ones<const S extends readonly number[], D extends DType = "f32">(
  shape: S,
  options: TensorOptions<D> = {},
): Tensor<Known<S>, NoInfer<D>> {
  return constant("ones", shape, 1, options);
}

/** A tensor with a copy of the bytes of its elements. */
export function fromBytes<D extends DType>(bytes: Uint8Array, shape: readonly number[], dtype: D, kind?: StorageKind): Tensor<Dyn, D> {
  const made = empty(shape, dtype, kind);
  engine().write(made.handle, 0, bytes);
  return made;
}

/** Sets every element of an f32 tensor. */
export function fill(target: Tensor, value: number): void {
  engine().kernels.fill(target, value);
}

function checkDType(what: string, dtype: unknown): void {
  if (isQuantized(dtype)) {
    throw new LowrankError("BAD_DTYPE", `${what}: an ${dtype} tensor is made of an f32, bf16 or f16 one by quantize(x, "${dtype}")`, {
      actual: dtype,
    });
  }
  if (!isDType(dtype)) throw new LowrankError("BAD_DTYPE", `${what}: unknown dtype ${String(dtype)}; known: ${Object.keys(dtypes).join(", ")}`);
}

function checkOptions(what: string, options: unknown): void {
  if (isDType(options)) throw new LowrankError("BAD_ARGUMENT", `${what}: the options are an object. Write { dtype: "${options}" }.`);
  checkNames(what, options, ["dtype"]);
}

function constant<S extends readonly number[], D extends DType>(
  what: string,
  shape: S,
  value: number,
  options: TensorOptions<D>,
): Tensor<Known<S>, D> {
  checkShape(shape, what);
  checkOptions(what, options);
  const dtype = options.dtype ?? ("f32" as D);
  checkDType(what, dtype);
  if (dtype !== "f32") {
    const data = new Array<number>(elementsOf(shape)).fill(value);
    return fromBytes(bytesOf(data, dtype), shape, dtype) as Tensor<Known<S>, D>;
  }
  const made = empty(shape, dtype) as Tensor<Known<S>, D>;
  fill(made, value);
  return made;
}

const defaultDType = (data: TensorData): DType => (data instanceof Int32Array ? "i32" : data instanceof Uint8Array ? "u8" : "f32");

function bytesOf(data: TensorData, dtype: DType): Uint8Array {
  const info = dtypes[dtype];
  let array: ArrayBufferView;
  if (Array.isArray(data) || data instanceof Float64Array) array = fromNumbers(data as readonly number[], dtype);
  else if (data.constructor === info.array) array = data as ArrayBufferView;
  else {
    const name = (data as object | null)?.constructor?.name ?? typeof data;
    throw new LowrankError("BAD_DTYPE", `tensor: a ${name} does not hold ${dtype}; expected ${info.array.name} or an array of numbers`, {
      expected: dtype,
      actual: name,
    });
  }
  return new Uint8Array(array.buffer, array.byteOffset, array.byteLength);
}

function fromNumbers(data: ArrayLike<number>, dtype: DType): ArrayBufferView {
  for (let i = 0; i < data.length; i++) {
    const value = data[i];
    if (typeof value !== "number") throw new LowrankError("BAD_ARGUMENT", `tensor: element ${i} is not a number but ${typeof value}`, { offset: i });
    if ((dtype === "i32" && (value | 0) !== value) || (dtype === "u8" && (value & 255) !== value)) {
      throw new LowrankError("BAD_ARGUMENT", `tensor: element ${i}, ${value}, is not an integer of ${dtype}`, { offset: i, actual: value });
    }
  }
  if (dtype === "bf16") return Uint16Array.from(data, narrowBf16);
  if (dtype === "f16") return Uint16Array.from(data, narrowF16);
  return dtypes[dtype].array.from(data);
}

const bits = new DataView(new ArrayBuffer(4));

/** The bit pattern of the nearest bfloat16 (ties to even; NaN stays NaN). */
export function narrowBf16(value: number): number {
  bits.setFloat32(0, value);
  const u = bits.getUint32(0);
  if ((u & 0x7fffffff) > 0x7f800000) return (u >>> 16) | 0x40;
  return ((u + 0x7fff + ((u >>> 16) & 1)) >>> 16) & 0xffff;
}

/** The number that a bfloat16 bit pattern stands for. */
export function widenBf16(pattern: number): number {
  bits.setUint32(0, pattern << 16);
  return bits.getFloat32(0);
}

/** The bit pattern of the nearest IEEE half of a float32 (ties to even; NaN stays NaN). */
export function narrowF16(value: number): number {
  const x = Math.fround(value);
  const sign = x < 0 || Object.is(x, -0) ? 0x8000 : 0;
  const size = Math.abs(x);
  if (Number.isNaN(size)) return 0x7e00;
  if (size >= 65520) return sign | 0x7c00;
  const exponent = Math.max(-14, Math.floor(Math.log2(size || 1)) - (size < 2 ** Math.floor(Math.log2(size || 1)) ? 1 : 0));
  const significand = roundToEven((size / 2 ** exponent) * 1024);
  return sign | (size < 2 ** -14 ? significand : ((exponent + 14) << 10) + significand);
}

/** The number that an IEEE half bit pattern stands for. */
export function widenF16(pattern: number): number {
  const sign = pattern & 0x8000 ? -1 : 1;
  const exponent = (pattern >>> 10) & 31;
  const fraction = pattern & 1023;
  if (exponent === 31) return fraction ? Number.NaN : sign * Number.POSITIVE_INFINITY;
  return sign * (exponent === 0 ? fraction * 2 ** -24 : (1 + fraction / 1024) * 2 ** (exponent - 15));
}

function roundToEven(x: number): number {
  const low = Math.floor(x);
  const rest = x - low;
  return rest > 0.5 || (rest === 0.5 && low % 2 === 1) ? low + 1 : low;
}
