import { defineOp } from "./op.js";
import { map } from "./reference.js";

export const reluOp = defineOp({
  name: "relu",
  signature: "x[...] -> y[...]",
  formula: "y = max(x, 0); NaN stays NaN",
  dtypes: { x: ["f32"] },
  gradients: ["x"],
  keeps: ["x"],
  defaults: {},
  forward: (k, { y, x }) => k.relu_forward(y, x),
  backward: (k, { dx, dy, x }) => k.relu_backward(dx, dy, x),
  reference: ({ x }) => map(x, (value) => (value < 0 ? 0 : value)),
  tolerance: "exact",
  values: { x: "away-from-zero" },
});
