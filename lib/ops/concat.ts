import { LowrankError } from "../native/errors.js";
import { checkAxis, shapeText } from "../tensor/shape.js";
import { columns, defineOp, fold, type Kernels, type View } from "./op.js";
import { at, fromIndex, type Ref } from "./reference.js";
import { around } from "./sum.js";

interface ConcatParams {
  readonly axis: number;
  /** Set from the inputs. */
  shapes: readonly (readonly number[])[];
}

const sizesAlong = ({ axis, shapes }: ConcatParams): number[] => shapes.map((shape) => shape[checkAxis("concat", axis, shape)] as number);

function joinedShape({ axis, shapes }: ConcatParams): number[] {
  const [first] = shapes;
  if (first === undefined) throw new LowrankError("BAD_ARGUMENT", "concat: expected at least one tensor");
  const along = checkAxis("concat", axis, first);
  shapes.forEach((shape, i) => {
    if (shape.length === first.length && shape.every((size, d) => d === along || size === first[d])) return;
    const all = shapes.map(shapeText).join(", ");
    throw new LowrankError(
      "BAD_SHAPE",
      `concat: tensor ${i} is ${shapeText(shape)}, the first ${shapeText(first)}; only axis ${along} may differ (${all})`,
      {
        op: "concat",
        expected: first,
        actual: shape,
      },
    );
  });
  const total = sizesAlong({ axis, shapes }).reduce((sum, size) => sum + size, 0);
  return first.map((size, d) => (d === along ? total : size));
}

/** Calls `copy` with each input and its columns of y folded to [outer, total·inner]. */
function eachPart(y: View | undefined, params: ConcatParams, copy: (part: View, name: string, rows: number, cols: number) => void): void {
  const shape = joinedShape(params);
  const [outer, total, inner] = around(shape, checkAxis("concat", params.axis, shape));
  const folded = fold(y, outer, total * inner) as View;
  let start = 0;
  sizesAlong(params).forEach((size, i) => {
    copy(columns(folded, start * inner, size * inner), `x${i}`, outer, size * inner);
    start += size;
  });
}

type Named = Readonly<Record<string, View | undefined>>;

export const concatOp = defineOp({
  name: "concat",
  signature: "x[...] -> y[...]",
  formula: "the inputs one after the other along an axis",
  variadic: true,
  dtypes: { x: ["f32"] },
  gradients: ["x"],
  packed: ["x"],
  defaults: { axis: 0, shapes: [] } as ConcatParams,
  shape: (shapes, params) => {
    params.shapes = Object.values(shapes);
    return joinedShape(params);
  },
  forward: (k: Kernels, t: Named, params) => eachPart(t["y"], params, (part, name, rows, cols) => k.copy(part, fold(t[name], rows, cols))),
  backward: (k: Kernels, t: Named, params) =>
    eachPart(t["dy"], params, (part, name, rows, cols) => {
      const gradient = t[`d${name}`];
      if (gradient !== undefined) k.copy(fold(gradient, rows, cols), part);
    }),
  reference: (inputs: Readonly<Record<string, Ref>>, params) => {
    const parts = Object.values(inputs);
    const resolved = { axis: params.axis, shapes: parts.map(({ shape }) => shape) };
    const shape = joinedShape(resolved);
    const [, total, inner] = around(shape, checkAxis("concat", params.axis, shape));
    const sizes = sizesAlong(resolved);
    return fromIndex(shape, (flat) => {
      let along = Math.floor(flat / inner) % total;
      let part = 0;
      while (along >= (sizes[part] as number)) along -= sizes[part++] as number;
      return at(parts[part] as Ref, (Math.floor(flat / (inner * total)) * (sizes[part] as number) + along) * inner + (flat % inner));
    });
  },
  tolerance: "exact",
  cases: [{ axis: -1 }, { axis: 1 }],
});
