/** @file Runs a case on the engine: makes its inputs in the wanted layout, computes the output and all gradients, frees everything. */
import { apply } from "../../lib/autograd/apply.js";
import { Parameter } from "../../lib/autograd/parameter.js";
import { valueAndGrad } from "../../lib/autograd/value-and-grad.js";
import { mulOp, reshapeOp, sliceOp, sumOp } from "../../lib/ops/index.js";
import type { AnyOp, Compose } from "../../lib/ops/op.js";
import { fromBytes, tensor } from "../../lib/tensor/create.js";
import { type DType, isQuantized } from "../../lib/tensor/dtype.js";
import { tidy } from "../../lib/tensor/scope.js";
import { elementsOf } from "../../lib/tensor/shape.js";
import { StepRecord } from "../../lib/tensor/step-record.js";
import type { Tensor } from "../../lib/tensor/tensor.js";
import type { Case, Layout } from "./cases.js";
import { decode, encode } from "./formats.js";
import { settingsOf } from "./oracle.js";
import type { Values } from "./values.js";

/** Where an input stands in the wider tensor that holds it. */
interface Window {
  readonly shape: readonly number[];
  readonly wide: readonly number[];
  /** Elements left of the window in each row. */
  readonly start: number;
}

/** Strided: rows 5 elements apart that start at an odd element, with NaN (or nonsense indexes) around them. */
function windowOf(shape: readonly number[], layout: Layout): Window {
  if (layout === "packed") return { shape, wide: shape, start: 0 };
  const cols = shape.length === 0 ? 1 : (shape[shape.length - 1] as number);
  return { shape, wide: [...shape.slice(0, -1), cols + 5], start: 3 };
}

const lastOf = (shape: readonly number[]): number => (shape.length === 0 ? 1 : (shape[shape.length - 1] as number));

/** For each element of the window, its place in the wide tensor. */
function* places({ shape, wide, start }: Window): Generator<number> {
  const [cols, ld] = [lastOf(shape), lastOf(wide)];
  const rows = cols === 0 ? 0 : elementsOf(shape) / cols;
  for (let r = 0; r < rows; r++) for (let c = 0; c < cols; c++) yield r * ld + start + c;
}

export function widen(window: Window, values: Float64Array, around: number): Float64Array {
  const wide = new Float64Array(elementsOf(window.wide)).fill(around);
  let i = 0;
  for (const place of places(window)) wide[place] = values[i++] as number;
  return wide;
}

/** The window of a wide tensor: a view. */
function viewWindow(wide: Tensor, { shape, wide: from, start }: Window): Tensor {
  if (from === shape) return wide;
  const sliced = apply(sliceOp, { x: wide }, { axis: -1, start, end: start + lastOf(shape) });
  return shape.length === 0 ? apply(reshapeOp, { x: sliced }, { to: [] }) : sliced;
}

/** What is around a window must not be read: NaN poisons every sum, a far label is an error. */
const poison = (dtype: DType): number => (dtype === "i32" ? -1_000_000 : dtype === "u8" ? 255 : Number.NaN);

/** An input on the engine; trained ones are parameters. */
interface Held {
  readonly name: string;
  readonly window: Window;
  readonly holder: Tensor | Parameter;
}

export const isTrained = (op: AnyOp, name: string, dtype: DType | undefined): boolean =>
  dtype === "f32" && op.gradients.includes(op.variadic ? "x" : name);

function hold(one: Case, values: Values): Held[] {
  return Object.entries(one.shapes).map(([name, shape]) => {
    const dtype = one.dtypes[name] as DType;
    // A quantised tensor is always whole.
    const window = windowOf(shape, isQuantized(dtype) ? "packed" : one.layout);
    if (isQuantized(dtype)) return { name, window, holder: fromBytes(values.bytes[name] as Uint8Array, shape, dtype) };
    const made = tensor(encode(dtype, widen(window, values.inputs[name] as Float64Array, poison(dtype))), window.wide, { dtype });
    return { name, window, holder: isTrained(one.op, name, dtype) ? new Parameter(made) : made };
  });
}

const valueOf = (holder: Tensor | Parameter): Tensor => (holder instanceof Parameter ? holder.value : holder);
const viewsOf = (held: readonly Held[]): Record<string, Tensor> =>
  Object.fromEntries(held.map(({ name, window, holder }) => [name, viewWindow(valueOf(holder), window)]));

/** Seed, step and micro-batch of every random op in the tests. */
let record: StepRecord | undefined;
export function testRecord(): StepRecord {
  if (record === undefined) {
    record = new StepRecord();
    record.begin({ ...record.settings, seed: 2 ** 40 + 17, step: 3, micro: 1 });
  }
  return record;
}

export const paramsOf = ({ op, params }: Case): Record<string, unknown> => ({
  ...params,
  ...("record" in op.defaults ? { record: testRecord() } : {}),
});

/** An op called as it is, or its composition run by the engine. */
export type Way = "itself" | "composed";

const composeOnEngine: Compose<Tensor> = (op, inputs, params) => apply(op, inputs, params);

function call(one: Case, way: Way, inputs: Record<string, Tensor>): Tensor {
  const params = paramsOf(one);
  if (way === "itself") return apply(one.op, inputs, params);
  return (one.op.composed as NonNullable<AnyOp["composed"]>)(composeOnEngine, inputs, settingsOf(one.op, inputs, params));
}

export interface Output {
  readonly shape: readonly number[];
  readonly dtype: DType;
  readonly bits: Uint8Array;
  readonly values: Float64Array;
}

async function read(y: Tensor): Promise<Output> {
  const data = (await y.data()) as Float32Array;
  return { shape: y.shape, dtype: y.dtype, bits: new Uint8Array(data.buffer), values: decode(y.dtype, data) };
}

/** The output of a case. */
export async function forwardOnEngine(one: Case, values: Values): Promise<Output> {
  const held = hold(one, values);
  const y = tidy(() => call(one, "itself", viewsOf(held)));
  try {
    return await read(y);
  } finally {
    for (const tensor of [y, ...held.map(({ holder }) => holder)]) tensor.dispose();
  }
}

export interface Gradient {
  readonly values: Float64Array;
  /** Whether everything around the window got gradient 0. */
  readonly clean: boolean;
}

/** The gradients of L = Σ dy·y for every trained input, by valueAndGrad. */
export async function gradientsOnEngine(
  one: Case,
  way: Way,
  values: Values,
  dy: Float64Array,
  shape: readonly number[],
): Promise<Map<string, Gradient>> {
  const held = hold(one, values);
  const weights = tensor(dy, shape, { dtype: "f32" });
  const trained = held.filter(({ holder }) => holder instanceof Parameter);
  try {
    const loss = valueAndGrad(() => {
      const y = call(one, way, viewsOf(held));
      return apply(sumOp, { x: apply(mulOp, { a: y, b: weights }) });
    });
    loss.dispose();
    const found = new Map<string, Gradient>();
    for (const { name, window, holder } of trained) {
      const wide = Float64Array.from((await (holder as Parameter).grad?.data()) ?? []);
      const inside = Float64Array.from(places(window), (place) => wide[place] as number);
      for (const place of places(window)) wide[place] = 0;
      found.set(name, { values: inside, clean: wide.length === elementsOf(window.wide) && wide.every((value) => value === 0) });
    }
    return found;
  } finally {
    for (const tensor of [weights, ...held.map(({ holder }) => holder)]) tensor.dispose();
  }
}
