import { LowrankError } from "../native/errors.js";
import { defineOp, fold } from "./op.js";
import { mapRows } from "./reference.js";

export const argmaxOp = defineOp({
  name: "argmax",
  signature: "x[..., N] -> y[...]",
  formula: "y = index of the largest element of the last axis; the first of equals, NaN counts as largest",
  dtypes: { x: ["f32"] },
  output: "i32",
  gradients: [],
  defaults: {},
  shape: ({ x = [] }) => {
    if (x[x.length - 1] === 0)
      throw new LowrankError("BAD_SHAPE", `argmax: the last axis of [${x.join(", ")}] is empty, there is no largest element`);
    return x.slice(0, -1);
  },
  forward: (k, { y, x }) => k.argmax(fold(y, x?.rows ?? 0, 1), x),
  reference: ({ x }) =>
    mapRows(x, x.shape.slice(0, -1), (row) => {
      const missing = row.findIndex(Number.isNaN);
      return [missing >= 0 ? missing : row.indexOf(Math.max(...row))];
    }),
  tolerance: "exact",
});
