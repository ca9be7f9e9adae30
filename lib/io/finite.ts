/** @file Finds NaN and infinity in the raw bytes of a tensor. */
import type { SafetensorsDType } from "./safetensors-dtype.js";

type Test = (bits: number) => boolean;

const bytes8 = (isBad: Test) => (bytes: Uint8Array) => bytes.findIndex(isBad);
const bytes16 = (isBad: Test) => (bytes: Uint8Array) => new Uint16Array(bytes.buffer, bytes.byteOffset, bytes.length >> 1).findIndex(isBad);
const floats32 = (bytes: Uint8Array) => new Float32Array(bytes.buffer, bytes.byteOffset, bytes.length >> 2).findIndex((x) => !Number.isFinite(x));

/** The types that have such values. F8 types after the OCP 8-bit and microscaling specifications and their "FNUZ" variants. */
const scanners: Partial<Record<SafetensorsDType, (bytes: Uint8Array) => number>> = {
  F8_E5M2: bytes8((bits) => (bits & 0x7c) === 0x7c),
  F8_E4M3: bytes8((bits) => (bits & 0x7f) === 0x7f),
  F8_E8M0: bytes8((bits) => bits === 0xff),
  F8_E4M3FNUZ: bytes8((bits) => bits === 0x80),
  F8_E5M2FNUZ: bytes8((bits) => bits === 0x80),
  F16: bytes16((bits) => (bits & 0x7c00) === 0x7c00),
  BF16: bytes16((bits) => (bits & 0x7f80) === 0x7f80),
  F32: floats32,
  F64: (bytes) => new Float64Array(bytes.buffer, bytes.byteOffset, bytes.length >> 3).findIndex((x) => !Number.isFinite(x)),
  C64: (bytes) => floats32(bytes) >> 1,
};

/** Index of the first element that is NaN or infinite, or -1. `bytes` must be aligned to the element size (little-endian host). */
export function firstNonFinite(dtype: SafetensorsDType, bytes: Uint8Array): number {
  return scanners[dtype]?.(bytes) ?? -1;
}

/** Whether elements of this type can be NaN or infinite at all. */
export function canBeNonFinite(dtype: SafetensorsDType): boolean {
  return scanners[dtype] !== undefined;
}
