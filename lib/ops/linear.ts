import { weightDTypes } from "../tensor/dtype.js";
import { defineOp } from "./op.js";
import { at, product } from "./reference.js";

export const linearOp = defineOp({
  name: "linear",
  signature: "x[..., I], w[O, I], bias[O]? -> y[..., O]",
  formula: "y = x·wᵀ + bias",
  dtypes: { x: ["f32"], w: weightDTypes, bias: ["f32"] },
  gradients: ["x", "w", "bias"],
  keeps: ["x", "w"],
  defaults: {},
  forward: (k, { y, x, w, bias }) => k.linear_forward(y, x, w, bias),
  backward: (k, { dx, dw, dbias, dy, x, w }) => k.linear_backward(dx, dw, dbias, dy, x, w),
  reference: ({ x, w, bias }) => {
    const [o = 0, i = 0] = w.shape;
    const rows = x.shape.slice(0, -1).reduce((count, size) => count * size, 1);
    const left = { data: x.data, matrix: 0, row: i, column: 1 };
    const transposed = { data: w.data, matrix: 0, row: 1, column: i };
    const y = product([...x.shape.slice(0, -1), o], 1, [rows, o, i], left, transposed);
    if (bias !== undefined) for (let e = 0; e < y.data.length; e++) y.data[e] = at(y, e) + at(bias, e % o);
    return y;
  },
  tolerance: "reduction",
});
