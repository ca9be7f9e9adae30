/** @file What every op must refuse, generated from the registry: sizes that disagree, undeclared dtypes, gradients it does not have. */
import { describe, expect, it } from "vitest";
import { apply } from "../../lib/autograd/apply.js";
import { Parameter } from "../../lib/autograd/parameter.js";
import { valueAndGrad } from "../../lib/autograd/value-and-grad.js";
import type { ErrorCode } from "../../lib/native/error-codes.js";
import { LowrankError } from "../../lib/native/errors.js";
import { castOp, registry, sumOp } from "../../lib/ops/index.js";
import type { AnyOp } from "../../lib/ops/op.js";
import { literalSize } from "../../lib/ops/signature.js";
import { tensor, zeros } from "../../lib/tensor/create.js";
import { memory } from "../../lib/tensor/device.js";
import { type DType, dtypes, isQuantized, nf4Block } from "../../lib/tensor/dtype.js";
import { quantize } from "../../lib/tensor/quantize.js";
import { tidy } from "../../lib/tensor/scope.js";
import { elementsOf } from "../../lib/tensor/shape.js";
import type { Tensor } from "../../lib/tensor/tensor.js";
import { testRecord } from "./run.js";

const sizes: Readonly<Record<string, number>> = { I: 64, O: 6, R: 3, M: 4, N: 7, K: 2, V: 8, D: 64, F: 9, H: 6, G: 3, T: 4, S: 7, P: 11 };
const leading = [2, 3];

type Shapes = Record<string, readonly number[]>;

/** A valid call with all inputs, every size different. */
function shapesOf(op: AnyOp): Shapes {
  if (op.variadic) return { x0: [2, 3], x1: [2, 3] };
  const shapes: Shapes = {};
  for (const { name, forms } of op.parsed.inputs) {
    shapes[name] =
      forms[0]?.[0] === "~" ? leading : (forms[0] ?? []).flatMap((dim) => (dim === "..." ? leading : [literalSize(dim) ?? (sizes[dim] as number)]));
  }
  return shapes;
}

const dtypeOf = (op: AnyOp, name: string): DType => (op.dtypes[op.variadic ? "x" : name] ?? [])[0] as DType;

/** Zeros; of quantised types a matrix, of another shape where they cannot have this one. */
function make(shape: readonly number[], dtype: DType): Tensor {
  if (!isQuantized(dtype)) return tensor(new Array<number>(elementsOf(shape)).fill(0), shape, { dtype });
  const [rows = 1, cols = nf4Block] = shape.length === 2 && (shape[1] as number) % nf4Block === 0 ? shape : [];
  return tidy(() => quantize(zeros([rows, cols]), dtype));
}

const params = (op: AnyOp): object => ("record" in op.defaults ? { record: testRecord() } : {});

/** Calls an op with zeros of these shapes; all of it is freed. */
function call(op: AnyOp, shapes: Shapes, types: Readonly<Record<string, DType>> = {}): void {
  tidy(() => {
    apply(op, Object.fromEntries(Object.entries(shapes).map(([name, shape]) => [name, make(shape, types[name] ?? dtypeOf(op, name))])), params(op));
  });
}

function refusal(fn: () => unknown): LowrankError {
  const before = memory().cpu;
  try {
    fn();
  } catch (error) {
    if (!(error instanceof LowrankError)) throw error;
    expect(memory().cpu.tensors, "a refused call leaves nothing behind").toBe(before.tensors);
    return error;
  }
  throw new Error("the call was not refused");
}

function expectRefusal(fn: () => unknown, code: ErrorCode, ...texts: string[]): void {
  const error = refusal(fn);
  expect(error.code, error.message).toBe(code);
  for (const text of texts) expect(error.message).toContain(text);
}

/** Every (input, axis) whose size another input has too, with what the message must name. */
function sharedAxes(op: AnyOp): { name: string; axis: number; says: string }[] {
  const shapes = shapesOf(op);
  if (op.variadic) return [{ name: "x1", axis: 1, says: "only axis 0 may differ" }];
  const owners = new Map<string, string[]>();
  for (const { name, forms } of op.parsed.inputs) for (const dim of forms[0] ?? []) owners.set(dim, [...(owners.get(dim) ?? []), name]);
  return op.parsed.inputs.flatMap(({ name, forms }) => {
    const form = forms[0] ?? [];
    const shape = shapes[name] as readonly number[];
    if (form[0] === "~") return shape.map((_, axis) => ({ name, axis, says: `${name} is [` }));
    const named = form.filter((dim) => dim !== "...");
    return shape.flatMap((_, axis) => {
      const dim = axis < shape.length - named.length ? "..." : (named[axis - (shape.length - named.length)] as string);
      const shared = new Set(owners.get(dim)).size > 1;
      return shared ? [{ name, axis, says: dim === "..." ? "leading sizes differ" : `${dim} is ${sizes[dim]}` }] : [];
    });
  });
}

describe.each(registry.map((op) => [op.name, op] as const))("%s refuses", (_, op) => {
  it("each shared size changed by one, naming it", () => {
    testRecord();
    call(op, shapesOf(op));
    for (const { name, axis, says } of sharedAxes(op)) {
      const shapes = shapesOf(op);
      shapes[name] = (shapes[name] as readonly number[]).map((size, i) => (i === axis ? size + 1 : size));
      const error = refusal(() => call(op, shapes));
      expect(error.code, `${name} ${axis}: ${error.message}`).toBe("BAD_SHAPE");
      // The change may stand in the input that is read first: then the message has the changed size.
      const changed = says.replace(/ is (\d+)$/, (_match, size) => ` is ${Number(size) + 1}`);
      expect(error.message.includes(says) || error.message.includes(changed), `${name} axis ${axis} should say "${says}": ${error.message}`).toBe(
        true,
      );
      expect(error.message.startsWith(`${op.name}: `), error.message).toBe(true);
    }
  });

  it("every dtype that is not declared", () => {
    for (const name of Object.keys(shapesOf(op))) {
      const declared = op.dtypes[op.variadic ? "x" : name] ?? [];
      for (const dtype of Object.keys(dtypes) as DType[]) {
        if (declared.includes(dtype)) call(op, shapesOf(op), { [name]: dtype });
        else expectRefusal(() => call(op, shapesOf(op), { [name]: dtype }), "BAD_DTYPE", `${op.name}: ${name}`, dtype, ...declared);
      }
    }
  });

  it("to train an input that has no gradient", () => {
    const shapes = shapesOf(op);
    for (const name of Object.keys(shapes)) {
      for (const dtype of op.dtypes[op.variadic ? "x" : name] ?? []) {
        if (dtype === "f32" && op.gradients.includes(op.variadic ? "x" : name)) continue;
        const parameter = new Parameter(make(shapes[name] as readonly number[], dtype));
        parameter.trainable = true;
        const run = () =>
          valueAndGrad(() => {
            const others = Object.entries(shapes).map(([other, shape]) => [
              other,
              other === name ? parameter.value : make(shape, dtypeOf(op, other)),
            ]);
            return apply(sumOp, { x: apply(op, Object.fromEntries(others), params(op)) });
          });
        if (op.gradients.length > 0) expectRefusal(run, "NO_GRADIENT", name);
        else expectRefusal(run, op.output === "i32" ? "BAD_DTYPE" : "NO_GRADIENT");
        parameter.dispose();
      }
    }
  });

  it("a missing input, and what is not a tensor", () => {
    for (const { name, optional } of op.variadic ? [] : op.parsed.inputs) {
      const { [name]: _left, ...others } = shapesOf(op);
      if (optional) call(op, others);
      else expectRefusal(() => call(op, others), "BAD_ARGUMENT", `${op.name}: ${name}`);
    }
  });
});

describe("cast", () => {
  it("makes 16-bit numbers of floating-point numbers only", () => {
    for (const from of ["i32", "u8"] as const) {
      for (const to of ["bf16", "f16"] as const) {
        expectRefusal(() => tidy(() => apply(castOp, { x: zeros([3], { dtype: from }) }, { dtype: to })), "BAD_DTYPE", from, to);
      }
    }
    for (const to of ["i32", "u8", "f64"]) expectRefusal(() => tidy(() => apply(castOp, { x: zeros([3]) }, { dtype: to })), "BAD_DTYPE", to);
  });
});
