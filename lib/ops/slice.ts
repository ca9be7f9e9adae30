import { LowrankError } from "../native/errors.js";
import { checkAxis, shapeText } from "../tensor/shape.js";
import { type Tensor, viewOf } from "../tensor/tensor.js";
import { columns, defineOp, fold, type View } from "./op.js";
import { at, fromIndex } from "./reference.js";
import { around } from "./sum.js";

export interface SliceParams {
  readonly axis: number;
  readonly start: number;
  readonly end: number | undefined;
  /** Set from the input. */
  xShape: readonly number[];
}

function resolve(shape: readonly number[], params: SliceParams): { axis: number; start: number; end: number } {
  const axis = checkAxis("slice", params.axis, shape);
  const size = shape[axis] as number;
  const end = params.end ?? size;
  if (Number.isInteger(params.start) && Number.isInteger(end) && params.start >= 0 && params.start <= end && end <= size) {
    return { axis, start: params.start, end };
  }
  throw new LowrankError("BAD_ARGUMENT", `slice: ${params.start} … ${end} is not a part of axis ${axis} of ${shapeText(shape)} (0 … ${size})`, {
    op: "slice",
    expected: `0 … ${size}`,
    actual: [params.start, end],
  });
}

/** The slice as columns of x folded to [outer, n·inner]. */
function part(x: View | undefined, params: SliceParams): View | undefined {
  const { axis, start, end } = resolve(params.xShape, params);
  const [outer, n, inner] = around(params.xShape, axis);
  const folded = fold(x, outer, n * inner);
  return folded && columns(folded, start * inner, (end - start) * inner);
}

/** First and last axis are views; every other slice is a copy. */
function alias(x: Tensor, params: SliceParams, shape: readonly number[]): Tensor | undefined {
  const { axis, start } = resolve(x.shape, params);
  if (axis === x.shape.length - 1) return viewOf(x, shape, { offset: x.offset + start, ld: x.ld });
  const [, , inner] = around(x.shape, 0);
  const rowsBefore = x.cols === 0 ? 0 : (start * inner) / x.cols;
  return axis === 0 ? viewOf(x, shape, { offset: x.offset + rowsBefore * x.ld, ld: x.ld }) : undefined;
}

export const sliceOp = defineOp({
  name: "slice",
  signature: "x[...] -> y[...]",
  formula: "y = x[start … end − 1] along one axis",
  dtypes: { x: ["f32", "i32", "u8", "bf16", "f16"] },
  output: "input",
  gradients: ["x"],
  packed: ["x"],
  defaults: { axis: 0, start: 0, end: undefined, xShape: [] } as SliceParams,
  shape: ({ x = [] }, params) => {
    params.xShape = x;
    const { axis, start, end } = resolve(x, params);
    return x.map((size, i) => (i === axis ? end - start : size));
  },
  alias,
  forward: (k, { y, x }, params) => {
    const source = part(x, params);
    k.copy(fold(y, source?.rows ?? 0, source?.cols ?? 0), source);
  },
  backward: (k, { dx, dy }, params) => {
    const target = part(dx, params);
    k.fill(dx, 0);
    k.copy(target, fold(dy, target?.rows ?? 0, target?.cols ?? 0));
  },
  reference: ({ x }, params) => {
    const { axis, start, end } = resolve(x.shape, params);
    const [, n, inner] = around(x.shape, axis);
    const width = (end - start) * inner;
    return fromIndex(
      x.shape.map((size, i) => (i === axis ? end - start : size)),
      (i) => at(x, Math.floor(i / width) * n * inner + start * inner + (i % width)),
    );
  },
  tolerance: "exact",
  cases: [
    { axis: -1, start: 1 },
    { axis: 1, start: 0, end: 1 },
  ],
});
