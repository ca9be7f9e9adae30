import { defineOp } from "./op.js";
import { at, fromIndex } from "./reference.js";

export const transposeOp = defineOp({
  name: "transpose",
  signature: "x[..., M, N] -> y[..., N, M]",
  formula: "y[…, j, i] = x[…, i, j]",
  dtypes: { x: ["f32"] },
  gradients: ["x"],
  defaults: { batch: 1 },
  shape: ({ x = [] }, params) => {
    params.batch = x.slice(0, -2).reduce((count, size) => count * size, 1);
    return [...x.slice(0, -2), ...x.slice(-2).reverse()];
  },
  forward: (k, { y, x }, { batch }) => k.transpose(y, x, batch),
  backward: (k, { dx, dy }, { batch }) => k.transpose(dx, dy, batch),
  reference: ({ x }) => {
    const [m = 0, n = 0] = x.shape.slice(-2);
    return fromIndex([...x.shape.slice(0, -2), n, m], (i) => at(x, Math.floor(i / (m * n)) * m * n + (i % m) * n + (Math.floor(i / m) % n)));
  },
  tolerance: "exact",
});
