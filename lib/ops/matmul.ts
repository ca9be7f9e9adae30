import { defineOp } from "./op.js";
import { product } from "./reference.js";

const NN = 0;
const NT = 1;
const TN = 2;

export const matmulOp = defineOp({
  name: "matmul",
  signature: "a[..., M, K], b[..., K, N] -> c[..., M, N]",
  formula: "c = a·b, for each matrix of the leading axes",
  dtypes: { a: ["f32"], b: ["f32"] },
  gradients: ["a", "b"],
  keeps: ["a", "b"],
  defaults: { batch: 1 },
  shape: ({ a = [], b = [] }, params) => {
    params.batch = a.slice(0, -2).reduce((count, size) => count * size, 1);
    return [...a.slice(0, -1), b[b.length - 1] as number];
  },
  forward: (k, { c, a, b }, { batch }) => k.matmul(c, a, b, batch, NN),
  backward: (k, { da, db, dc, a, b }, { batch }) => {
    if (da !== undefined) k.matmul(da, dc, b, batch, NT);
    if (db !== undefined) k.matmul(db, a, dc, batch, TN);
  },
  reference: ({ a, b }) => {
    const [m = 0, kk = 0] = a.shape.slice(-2);
    const n = b.shape[b.shape.length - 1] ?? 0;
    const batches = a.shape.slice(0, -2).reduce((count, size) => count * size, 1);
    const left = { data: a.data, matrix: m * kk, row: kk, column: 1 };
    const right = { data: b.data, matrix: kk * n, row: n, column: 1 };
    return product([...a.shape.slice(0, -1), n], batches, [m, n, kk], left, right);
  },
  tolerance: "reduction",
});
