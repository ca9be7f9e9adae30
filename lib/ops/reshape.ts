import { elementsOf, resolveReshape } from "../tensor/shape.js";
import { viewOf } from "../tensor/tensor.js";
import { defineOp, fold } from "./op.js";

const lastOf = (shape: readonly number[]): number => (shape.length === 0 ? 1 : (shape[shape.length - 1] as number));

export const reshapeOp = defineOp({
  name: "reshape",
  signature: "x[...] -> y[...]",
  formula: "the same elements in another shape",
  dtypes: { x: ["f32", "bf16", "f16", "i32", "u8"] },
  output: "input",
  gradients: ["x"],
  defaults: { to: [-1] as readonly number[] },
  shape: ({ x = [] }, { to }) => resolveReshape(x, to),
  // Rows that lie apart can only be split or joined as rows; everything else needs packed elements.
  alias: (x, _, shape) =>
    x.packed || lastOf(shape) === x.cols ? viewOf(x, shape, { offset: x.offset, ld: x.packed ? lastOf(shape) : x.ld }) : undefined,
  forward: (k, { y, x }) => k.copy(fold(y, x?.rows ?? 0, x?.cols ?? 0), x),
  backward: (k, { dx, dy }) => k.copy(dx, fold(dy, dx?.rows ?? 0, dx?.cols ?? 0)),
  reference: ({ x }, { to }) => ({ shape: resolveReshape(x.shape, to), data: x.data.slice(0, elementsOf(x.shape)) }),
  tolerance: "exact",
  cases: [{ to: [1, -1] }, { to: [-1, 1, 1] }],
});
