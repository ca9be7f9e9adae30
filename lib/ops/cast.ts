import { LowrankError } from "../native/errors.js";
import { type DType, isDType, isQuantized, quantizedDTypes } from "../tensor/dtype.js";
import { defineOp } from "./op.js";
import { map } from "./reference.js";

const floating: readonly DType[] = ["f32", "bf16", "f16"];

export const castOp = defineOp({
  name: "cast",
  signature: "x[...] -> y[...]",
  formula: "y = x rounded to the new type (to nearest, ties to even); the gradient passes unchanged",
  dtypes: { x: ["f32", "bf16", "f16", "i32", "u8", ...quantizedDTypes] },
  output: ({ dtype }, from) => {
    if (dtype !== "f32" && !floating.includes(from)) {
      throw new LowrankError("BAD_DTYPE", `cast: ${from} converts to f32 only, not to ${dtype}; cast to f32 first`, {
        expected: "f32",
        actual: dtype,
      });
    }
    return dtype;
  },
  gradients: ["x"],
  defaults: { dtype: "f32" as DType },
  shape: ({ x = [] }, { dtype }) => {
    if (!isDType(dtype) || !floating.includes(dtype)) {
      const hint = isQuantized(dtype) ? "; quantize(x, dtype) makes quantised weights" : "";
      throw new LowrankError("BAD_DTYPE", `cast: can make ${floating.join(", ")}, not ${String(dtype)}${hint}`, {
        expected: floating,
        actual: dtype,
      });
    }
    return [...x];
  },
  forward: (k, { y, x }) => k.cast(y, x),
  backward: (k, { dx, dy }) => k.copy(dx, dy),
  reference: ({ x }) => map(x, (value) => value),
  tolerance: "exact",
  cases: [{ dtype: "bf16" }, { dtype: "f16" }],
});
