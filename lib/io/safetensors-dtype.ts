/** @file The element types of the safetensors format that whole bytes hold, in the order by which the reference writer sorts. */

/** Bytes per element. The sub-byte types F4, F6_E2M3 and F6_E3M2 of the format are not read. */
export const dtypeBytes = {
  BOOL: 1,
  U8: 1,
  I8: 1,
  F8_E5M2: 1,
  F8_E4M3: 1,
  F8_E8M0: 1,
  F8_E4M3FNUZ: 1,
  F8_E5M2FNUZ: 1,
  I16: 2,
  U16: 2,
  F16: 2,
  BF16: 2,
  I32: 4,
  U32: 4,
  F32: 4,
  C64: 8,
  F64: 8,
  I64: 8,
  U64: 8,
} as const;

/** An element type as a safetensors header spells it. */
export type SafetensorsDType = keyof typeof dtypeBytes;

const byName = new Map(Object.keys(dtypeBytes).map((name, rank) => [name, rank]));

export const dtypeNames = [...byName.keys()] as readonly SafetensorsDType[];

export function isDType(name: string): name is SafetensorsDType {
  return byName.has(name);
}

/** Position in the reference writer's order: tensors of later types come first in a file. */
export function dtypeRank(dtype: SafetensorsDType): number {
  return byName.get(dtype) as number;
}
