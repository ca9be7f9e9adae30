import { LowrankError } from "../native/errors.js";
import { defineOp, fold } from "./op.js";
import { at, mapRows } from "./reference.js";

export interface RmsNormParams {
  /** Added to the mean of squares. */
  readonly eps: number;
}

export const rmsNormOp = defineOp({
  name: "rmsNorm",
  signature: "x[..., N], w[N] -> y[..., N]; save rstd[...]",
  formula: "y = x / √(mean(x²) + eps) ⊙ w, over the last axis",
  dtypes: { x: ["f32"], w: ["f32"] },
  gradients: ["x", "w"],
  keeps: ["x", "w"],
  remake: true,
  defaults: { eps: 1e-6 } as RmsNormParams,
  shape: ({ x = [] }, { eps }) => {
    if (!(Number.isFinite(eps) && eps >= 0)) throw new LowrankError("BAD_ARGUMENT", `rmsNorm: eps is a number from 0, found ${String(eps)}`);
    return [...x];
  },
  forward: (k, { y, rstd, x, w }, { eps }) => k.rms_norm_forward(y, fold(rstd, x?.rows ?? 0, 1), x, w, eps),
  backward: (k, { dx, dw, dy, x, w, rstd }) => k.rms_norm_backward(dx, dw, dy, x, w, fold(rstd, x?.rows ?? 0, 1)),
  reference: ({ x, w }, { eps }) =>
    mapRows(x, x.shape, (row) => {
      const rstd = 1 / Math.sqrt(row.reduce((sum, value) => sum + value * value, 0) / row.length + Math.fround(eps));
      return row.map((value, i) => value * rstd * at(w, i));
    }),
  tolerance: "flash",
  cases: [{ eps: 1e-2 }],
});
