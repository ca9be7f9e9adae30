/** @file Element types. Codes and sizes as in native/core/dtype.h and native/core/quantized.h. */
import { elementsOf } from "./shape.js";

/** Floating-point types, which every tensor of numbers can have. */
export type FloatDType = "f32" | "bf16" | "f16";

/**
 * Types whose elements share numbers, for frozen weights. int8: a scale for each row. nf4: 4 bits for each element and a scale for each 64 (QLoRA,
 * Dettmers et al., arXiv 2305.14314). `quantize` and `loadModel` make such tensors; they are always whole.
 */
export type QuantizedDType = "int8" | "nf4";

/** Types that a weight can be stored in. */
export type WeightDType = FloatDType | QuantizedDType;

/** Types a tensor can have. Activations, gradients and optimizer state are f32; weights may be stored in other types; indexes are i32. */
export type DType = WeightDType | "i32" | "u8";

/** What `data()` gives: bf16 and f16 as their bit patterns, int8 and nf4 as the bytes of the whole tensor (docs/quantized.md). */
export interface DataOf {
  f32: Float32Array;
  bf16: Uint16Array;
  f16: Uint16Array;
  i32: Int32Array;
  u8: Uint8Array;
  int8: Uint8Array;
  nf4: Uint8Array;
}

interface DTypeInfo<D extends DType> {
  readonly code: number;
  /** Of an element; 0 where elements have no bytes of their own. */
  readonly bytes: number;
  readonly array: { new (buffer: ArrayBuffer): DataOf[D]; from(values: ArrayLike<number>): DataOf[D] };
}

export const dtypes: { readonly [D in DType]: DTypeInfo<D> } = {
  f32: { code: 0, bytes: 4, array: Float32Array },
  bf16: { code: 1, bytes: 2, array: Uint16Array },
  f16: { code: 2, bytes: 2, array: Uint16Array },
  i32: { code: 3, bytes: 4, array: Int32Array },
  u8: { code: 4, bytes: 1, array: Uint8Array },
  int8: { code: 5, bytes: 0, array: Uint8Array },
  nf4: { code: 6, bytes: 0, array: Uint8Array },
};

export const quantizedDTypes: readonly QuantizedDType[] = ["int8", "nf4"];
export const weightDTypes: readonly WeightDType[] = ["f32", "bf16", "f16", ...quantizedDTypes];

export const isDType = (value: unknown): value is DType => typeof value === "string" && Object.hasOwn(dtypes, value);

export const isQuantized = (dtype: unknown): dtype is QuantizedDType => dtype === "int8" || dtype === "nf4";

/** Elements of nf4 with one scale: rows have a multiple of so many. */
export const nf4Block = 64;

/** Bytes of a tensor. */
export function storageBytes(shape: readonly number[], dtype: DType): number {
  const size = elementsOf(shape);
  if (!isQuantized(dtype)) return size * dtypes[dtype].bytes;
  if (dtype === "int8") return Math.ceil(size / 4) * 4 + 4 * elementsOf(shape, shape.length - 1);
  const blocks = size / nf4Block;
  return size / 2 + Math.ceil(blocks / 4) * 4 + 4 * Math.ceil(blocks / 256) + 4;
}
