import { defineOp } from "./op.js";
import { map } from "./reference.js";

export const siluOp = defineOp({
  name: "silu",
  signature: "x[...] -> y[...]",
  formula: "y = x / (1 + exp(−x))",
  dtypes: { x: ["f32"] },
  gradients: ["x"],
  keeps: ["x"],
  defaults: {},
  forward: (k, { y, x }) => k.silu_forward(y, x),
  backward: (k, { dx, dy, x }) => k.silu_backward(dx, dy, x),
  reference: ({ x }) => map(x, (value) => value / (1 + Math.exp(-value))),
  tolerance: "ulp",
});
