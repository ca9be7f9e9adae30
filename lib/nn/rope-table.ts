import { engine } from "../native/engine.js";
import { LowrankError } from "../native/errors.js";
import { tensor } from "../tensor/create.js";
import { empty, type Tensor } from "../tensor/tensor.js";

/**
 * The table that `rope` reads: row p holds K/2 cosines and K/2 sines of p · frequency, times `factor`. Angles are computed in float64 and
 * rounded once, so positions of 100,000 are as exact as the first.
 * @param frequencies K/2 angles per position
 * @param positions number of rows P
 * @returns [P, K], f32
 */
export function ropeTable(frequencies: Float64Array, positions: number, factor = 1): Tensor<[number, number], "f32"> {
  if (!Number.isSafeInteger(positions) || positions < 1)
    throw new LowrankError("BAD_ARGUMENT", `ropeTable: positions is a positive integer, found ${String(positions)}`);
  // Two floats hold 48 bits of a double.
  const high = Float32Array.from(frequencies);
  const low = Float32Array.from(frequencies, (frequency, i) => frequency - (high[i] as number));
  const parts = tensor(Float32Array.from([...high, ...low]), [2, frequencies.length]);
  try {
    const table = empty([positions, 2 * frequencies.length], "f32");
    engine().kernels.rope_table(table, parts, factor);
    return table;
  } finally {
    parts.dispose();
  }
}
