import { defineOp } from "./op.js";
import { zip } from "./reference.js";

export const mulOp = defineOp({
  name: "mul",
  signature: "a[...], b[~] -> y[...]",
  formula: "y = a ⊙ b",
  dtypes: { a: ["f32"], b: ["f32"] },
  gradients: ["a", "b"],
  keeps: ["a", "b"],
  defaults: {},
  forward: (k, { y, a, b }) => k.mul_forward(y, a, b),
  backward: (k, { da, db, dy, a, b }) => k.mul_backward(da, db, dy, a, b),
  reference: ({ a, b }) => zip(a, b, (x, y) => x * y),
  tolerance: "exact",
});
