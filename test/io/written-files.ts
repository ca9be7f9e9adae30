/** @file Tensors with known contents that our writer writes and the reference reader must read back. */

import { dtypeBytes, dtypeNames, type SafetensorsDType } from "../../lib/io/safetensors-dtype.js";
import type { TensorSource } from "../../lib/io/safetensors-write.js";

/** Byte `k` of the data of tensor number `index`; BOOL must hold 0 or 1. */
export function contentByte(index: number, k: number, dtype: SafetensorsDType): number {
  const byte = (index * 31 + k * 7 + 1) & 0xff;
  return dtype === "BOOL" ? byte & 1 : byte;
}

function source(name: string, dtype: SafetensorsDType, shape: readonly number[], index: number): TensorSource {
  const bytes = shape.reduce((product, dim) => product * dim, dtypeBytes[dtype]);
  return { name, dtype, shape, data: () => Uint8Array.from({ length: bytes }, (_, k) => contentByte(index, k, dtype)) };
}

/** Name of the file → its tensors and metadata. */
export const writtenFiles: Readonly<Record<string, { tensors: TensorSource[]; metadata: Record<string, string> }>> = {
  empty: { tensors: [], metadata: {} },
  "every-dtype": { tensors: dtypeNames.map((dtype, i) => source(`t_${dtype}`, dtype, [2, 3], i)), metadata: {} },
  names: {
    tensors: ["z", "a", "a.b", "a_b", "é", "\u{1f600}", "\uffee", "__proto__", 'quote"back\\slash', "line\nfeed\u0001\u007f", "../x"].map((name, i) =>
      source(name, "F32", [i], i),
    ),
    metadata: { format: "pt" },
  },
  shapes: {
    tensors: [[], [0], [3, 0, 2], [1], [1, 1, 1, 1, 1, 1, 1, 2], [5, 7]].map((shape, i) => source(`s${i}`, i % 2 === 0 ? "BF16" : "F32", shape, i)),
    metadata: { 'key"\n': "värde\t\u2028", format: "pt" },
  },
};
