import { defineOp } from "./op.js";
import { mapRows } from "./reference.js";

export const softmaxOp = defineOp({
  name: "softmax",
  signature: "x[..., N] -> y[..., N]",
  formula: "y = exp(x − max x) / Σ exp(x − max x), over the last axis",
  dtypes: { x: ["f32"] },
  gradients: ["x"],
  keeps: ["y"],
  defaults: {},
  forward: (k, { y, x }) => k.softmax_forward(y, x),
  backward: (k, { dx, dy, y }) => k.softmax_backward(dx, dy, y),
  reference: ({ x }) =>
    mapRows(x, x.shape, (row) => {
      const largest = Math.max(...row);
      const weights = row.map((value) => Math.exp(value - largest));
      const sum = weights.reduce((total, weight) => total + weight, 0);
      return weights.map((weight) => weight / sum);
    }),
  tolerance: "flash",
});
