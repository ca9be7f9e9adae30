import { defineOp } from "./op.js";
import { map } from "./reference.js";

export const scaleOp = defineOp({
  name: "scale",
  signature: "x[...] -> y[...]",
  formula: "y = factor · x",
  dtypes: { x: ["f32"] },
  gradients: ["x"],
  defaults: { factor: 1 },
  forward: (k, { y, x }, { factor }) => k.scale(y, x, factor),
  backward: (k, { dx, dy }, { factor }) => k.scale(dx, dy, factor),
  reference: ({ x }, { factor }) => map(x, (value) => value * Math.fround(factor)),
  tolerance: "exact",
  cases: [{ factor: -0.375 }, { factor: 0 }],
});
