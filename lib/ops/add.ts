import { defineOp } from "./op.js";
import { zip } from "./reference.js";

export const addOp = defineOp({
  name: "add",
  signature: "a[...], b[~] -> y[...]",
  formula: "y = a + b",
  dtypes: { a: ["f32"], b: ["f32"] },
  gradients: ["a", "b"],
  defaults: {},
  forward: (k, { y, a, b }) => k.add_forward(y, a, b),
  backward: (k, { da, db, dy }) => k.add_backward(da, db, dy),
  reference: ({ a, b }) => zip(a, b, (x, y) => x + y),
  tolerance: "exact",
});
