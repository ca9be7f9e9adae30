/** @file Element types. Codes and sizes as in native/core/dtype.h. */

/** Types a tensor can have. Activations, gradients and optimizer state are f32; weights may be stored as bf16 or f16; indexes are i32. */
export type DType = "f32" | "bf16" | "f16" | "i32" | "u8";

/** Types that a weight can be stored in. */
export type WeightDType = "f32" | "bf16" | "f16";

/** What `data()` gives: bf16 and f16 as their bit patterns. */
export interface DataOf {
  f32: Float32Array;
  bf16: Uint16Array;
  f16: Uint16Array;
  i32: Int32Array;
  u8: Uint8Array;
}

interface DTypeInfo<D extends DType> {
  readonly code: number;
  readonly bytes: number;
  readonly array: { new (buffer: ArrayBuffer): DataOf[D]; from(values: ArrayLike<number>): DataOf[D] };
}

export const dtypes: { readonly [D in DType]: DTypeInfo<D> } = {
  f32: { code: 0, bytes: 4, array: Float32Array },
  bf16: { code: 1, bytes: 2, array: Uint16Array },
  f16: { code: 2, bytes: 2, array: Uint16Array },
  i32: { code: 3, bytes: 4, array: Int32Array },
  u8: { code: 4, bytes: 1, array: Uint8Array },
};

export const isDType = (value: unknown): value is DType => typeof value === "string" && Object.hasOwn(dtypes, value);
