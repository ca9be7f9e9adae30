/** @file What a row of `lowrank bench` is, and the rows that run an op: the definition of the op in float64 is what their answers are compared with. */
import { apply } from "../autograd/apply.js";
import { cast } from "../functions.js";
import { engine } from "../native/engine.js";
import type { Kernels } from "../native/kernels.js";
import type { AnyOp, Compose } from "../ops/op.js";
import type { Ref } from "../ops/reference.js";
import { isQuantized, type WeightDType } from "../tensor/dtype.js";
import { quantize } from "../tensor/quantize.js";
import { empty, type Tensor } from "../tensor/tensor.js";
import { type Answer, answer, read, readRows } from "./bench-exact.js";

/** What a kernel cannot exceed: multiply-adds in registers, reading memory, copying it (bytes read and written count). */
export type Limit = "peak" | "read" | "copy";

export interface Row {
  readonly key: string;
  readonly limit: Limit;
  /** FLOPs of a run; bytes where memory is the limit. */
  readonly work: number;
  /** Runs in a scope, which keeps what is returned. */
  readonly prepare: (kernels: Kernels) => Prepared;
  /** What its time is compared with. */
  readonly plain?: Row;
}

export interface Prepared {
  /** Submits the kernel once. */
  readonly run: () => void;
  readonly answers: readonly Answer[];
  /** Its inputs. */
  readonly held: readonly Tensor[];
}

let drawn = 0;

/** Uniform numbers of [−1, 1), others each time. */
export function random(shape: readonly number[], dtype: WeightDType = "f32"): Tensor {
  const x = empty(shape, "f32");
  engine().kernels.uniform(x, 0, drawn++, -1, 1);
  if (dtype === "f32") return x;
  return isQuantized(dtype) ? quantize(x as unknown as Tensor<[number, number], "f32">, dtype) : cast(x, dtype);
}

const reference: Compose<Ref> = (op, inputs, params = {}) => {
  const settings = { ...op.defaults, ...params };
  return op.reference?.(inputs, settings) ?? (op.composed?.(reference, inputs, settings) as Ref);
};

interface OpRow extends Omit<Row, "prepare"> {
  readonly op: AnyOp;
  readonly params?: object;
  readonly inputs: () => Readonly<Record<string, Tensor>>;
  /** Those of which a row of the answer needs only its own row. */
  readonly byRow: readonly string[];
  readonly bound: number;
}

export function opRow({ op, params = {}, inputs, byRow, bound, ...row }: OpRow): Row {
  return {
    ...row,
    prepare: () => {
      const named = inputs();
      const exact: Answer["expected"] = async (rows) => {
        const refs: Record<string, Ref> = {};
        for (const [name, x] of Object.entries(named)) {
          const isCut = byRow.includes(name);
          const { values } = isCut ? await readRows(x, rows) : await read(x);
          refs[name] = { shape: isCut ? [rows.length, ...x.shape.slice(1)] : x.shape, data: new Float64Array(values) };
        }
        const values = reference(op, refs, params).data;
        return { rows: rows.length, cols: values.length / rows.length, values };
      };
      const answers = [answer("y", apply(op, named, params), bound, exact)];
      return { run: () => apply(op, named, params).dispose(), answers, held: Object.values(named) };
    },
  };
}
