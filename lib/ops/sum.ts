import { checkAxis } from "../tensor/shape.js";
import { defineOp, fold, type Kernels, type View } from "./op.js";
import { at, fromIndex, type Ref } from "./reference.js";

export interface SumParams {
  /** Undefined: all elements. */
  readonly axis: number | undefined;
}

/** Sizes before, at and behind an axis. */
export function around(shape: readonly number[], axis: number): [outer: number, n: number, inner: number] {
  const outer = shape.slice(0, axis).reduce((product, size) => product * size, 1);
  const inner = shape.slice(axis + 1).reduce((product, size) => product * size, 1);
  return [outer, shape[axis] as number, inner];
}

const without = (shape: readonly number[], axis: number | undefined): number[] => (axis === undefined ? [] : shape.filter((_, i) => i !== axis));

/** Resolved parameters: the shape of x rides along, since views do not carry it. */
interface Reduction extends SumParams {
  xShape: readonly number[];
}

function reduce(k: Kernels, y: View | undefined, x: View | undefined, { axis, xShape }: Reduction, factor: number): void {
  if (axis === undefined) return k.sum_all(y, x, factor);
  const [outer, n, inner] = around(xShape, axis);
  if (axis === xShape.length - 1) return k.sum_cols(fold(y, outer, 1), x, factor);
  k.sum_rows(fold(y, outer, inner), fold(x, outer * n, inner), n, factor);
}

function spread(k: Kernels, dx: View | undefined, dy: View | undefined, { axis, xShape }: Reduction, factor: number): void {
  if (axis === undefined) return k.broadcast(dx, dy, 1, factor);
  const [outer, n, inner] = around(xShape, axis);
  if (axis === xShape.length - 1) return k.broadcast(fold(dx, outer, n), fold(dy, outer, 1), 1, factor);
  k.broadcast(fold(dx, outer * n, inner), fold(dy, outer, inner), n, factor);
}

function reduceReference(x: Ref, axis: number | undefined, factorOf: (length: number) => number): Ref {
  if (axis === undefined) return fromIndex([], () => factorOf(x.data.length) * x.data.reduce((total, value) => total + value, 0));
  const [, n, inner] = around(x.shape, axis);
  const factor = factorOf(n);
  return fromIndex(without(x.shape, axis), (i) => {
    let total = 0;
    for (let j = 0; j < n; j++) total += at(x, (Math.floor(i / inner) * n + j) * inner + (i % inner));
    return factor * total;
  });
}

/** How many elements each result sums. */
const lengthOf = (shape: readonly number[], axis: number | undefined): number =>
  axis === undefined ? shape.reduce((product, size) => product * size, 1) : (shape[axis] as number);

const resolveAxis = (op: string, axis: number | undefined, shape: readonly number[]): number | undefined =>
  axis === undefined ? undefined : checkAxis(op, axis, shape);

function defineReduction<const N extends string>(name: N, formula: string, factorOf: (length: number) => number) {
  const factor = ({ axis, xShape }: Reduction) => factorOf(lengthOf(xShape, axis));
  return defineOp({
    name,
    signature: "x[...] -> y[...]",
    formula,
    dtypes: { x: ["f32"] },
    gradients: ["x"],
    packed: ["x"],
    defaults: { axis: undefined, xShape: [] } as Reduction,
    shape: ({ x = [] }, params) => {
      const axis = resolveAxis(name, params.axis, x);
      Object.assign(params, { axis, xShape: x });
      return without(x, axis);
    },
    forward: (k, { y, x }, params) => reduce(k, y, x, params, factor(params)),
    backward: (k, { dx, dy }, params) => spread(k, dx, dy, params, factor(params)),
    reference: ({ x }, { axis }) => reduceReference(x, resolveAxis(name, axis, x.shape), factorOf),
    tolerance: "reduction",
    cases: [{ axis: 0 }, { axis: -1 }, { axis: 1 }],
  });
}

export const sumOp = defineReduction("sum", "y = Σ x, over all elements or one axis", () => 1);
export const meanOp = defineReduction("mean", "y = Σ x / n, over all elements or one axis; NaN when n is 0", (n) => 1 / n);
