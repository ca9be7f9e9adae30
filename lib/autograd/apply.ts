/** @file Runs an op: checks, outputs, kernels, and a tape node where a gradient may be wanted. */
import { engine } from "../native/engine.js";
import { LowrankError } from "../native/errors.js";
import type { AnyOp } from "../ops/op.js";
import { type ArgumentSpec, type Bindings, bind, shapeOf } from "../ops/signature.js";
import type { DType } from "../tensor/dtype.js";
import { shapeText } from "../tensor/shape.js";
import { checkTensor, empty, type Tensor } from "../tensor/tensor.js";
import { OpNode, type Tape, type WantedInput } from "./tape.js";

/** The tape that records now, if any. Set by valueAndGrad and checkpoint. */
let recording: Tape | undefined;

export const currentTape = (): Tape | undefined => recording;

/** Runs `fn` while `tape` (undefined: none) records. */
export function withTape<T>(tape: Tape | undefined, fn: () => T): T {
  const before = recording;
  recording = tape;
  try {
    return fn();
  } finally {
    recording = before;
  }
}

type Inputs = Readonly<Record<string, Tensor | undefined>>;

/** The inputs of a call that are present. */
type Present = readonly { readonly name: string; readonly tensor: Tensor }[];

const unbound: Bindings = { leading: undefined, sizes: [] };

/**
 * Runs `op` on `inputs` (an absent optional one is undefined).
 * @throws LowrankError BAD_SHAPE, BAD_DTYPE, BAD_ARGUMENT, DISPOSED, WRONG_ENVIRONMENT, OUT_OF_MEMORY; NO_GRADIENT when an input is trained
 * whose gradient the op does not have.
 */
export function apply(op: AnyOp, inputs: Inputs, params: object = {}): Tensor {
  const present = checkInputs(op, inputs);
  const settings = { ...op.defaults, ...params };
  const shapes: Record<string, readonly number[]> = {};
  for (const { name, tensor } of present) shapes[name] = tensor.shape;
  const bindings = op.variadic ? unbound : bind(op.name, op.parsed, shapes);
  const output = op.parsed.outputs[0] as ArgumentSpec;
  const shape = op.shape?.(shapes, settings) ?? shapeOf(output, bindings);
  const dtype = outputType(op, present, settings);
  const wanted = wantedInputs(op, present, recording);

  const temporary: Tensor[] = [];
  let y: Tensor | undefined;
  try {
    const first = present[0]?.tensor;
    const alias = first !== undefined ? op.alias?.(first, settings, shape) : undefined;
    y = alias ?? empty(shape, dtype);
    const named: Record<string, Tensor> = { [output.name]: y };
    for (const { name, tensor } of present) named[name] = alias === undefined ? packed(op, name, tensor, temporary) : tensor;
    if (alias === undefined) {
      makeSaves(op, bindings, wanted, named, temporary);
      op.forward(engine().kernels, named, settings);
    }
    if (recording !== undefined && wanted.length > 0) recording.push(new OpNode(op, settings, y, output.name, wanted, named, recording));
    return y;
  } catch (error) {
    y?.dispose();
    throw error;
  } finally {
    for (const tensor of temporary) tensor.dispose();
  }
}

function makeSaves(op: AnyOp, bindings: Bindings, wanted: readonly WantedInput[], named: Record<string, Tensor>, temporary: Tensor[]): void {
  for (const spec of op.parsed.saves) {
    if (spec.optional && !wanted.some(({ name }) => spec.name === `g${name}`)) continue;
    const save = empty(shapeOf(spec, bindings), "f32");
    temporary.push(save);
    named[spec.name] = save;
  }
}

function checkInputs(op: AnyOp, inputs: Inputs): Present {
  const present: { name: string; tensor: Tensor }[] = [];
  if (op.variadic) for (const name of Object.keys(inputs)) present.push({ name, tensor: checkInput(op, name, inputs[name], "x") });
  else
    for (const { name, optional } of op.parsed.inputs) {
      const value = inputs[name];
      if (value !== undefined || !optional) present.push({ name, tensor: checkInput(op, name, value, name) });
    }
  return present;
}

function checkInput(op: AnyOp, name: string, value: unknown, spec: string): Tensor {
  const tensor = checkTensor(op.name, value, name);
  const allowed = op.dtypes[spec] ?? [];
  if (allowed.includes(tensor.dtype)) return tensor;
  throw new LowrankError("BAD_DTYPE", `${op.name}: ${name} ${shapeText(tensor.shape)} is ${tensor.dtype}, expected ${allowed.join(" or ")}`, {
    op: op.name,
    tensor: name,
    expected: allowed,
    actual: tensor.dtype,
  });
}

function outputType(op: AnyOp, present: Present, settings: object): DType {
  const first = present[0]?.tensor.dtype as DType;
  if (typeof op.output === "function") return op.output(settings, first);
  return op.output === "input" ? first : (op.output ?? "f32");
}

function wantedInputs(op: AnyOp, present: Present, tape: Tape | undefined): readonly WantedInput[] {
  const wanted: WantedInput[] = [];
  if (tape === undefined) return wanted;
  for (const { name, tensor } of present) {
    const target = tape.targetOf(tensor);
    if (target === undefined) continue;
    if (op.gradients.includes(op.variadic ? "x" : name) && tensor.dtype === "f32") wanted.push({ name, shape: tensor.shape, target });
    else if (op.gradients.length > 0) throw noGradient(op, name, tensor);
  }
  return wanted;
}

function noGradient(op: AnyOp, name: string, tensor: Tensor): LowrankError {
  const why = tensor.dtype === "f32" ? "the op has no gradient for this input" : `only f32 tensors have gradients, this one is ${tensor.dtype}`;
  return new LowrankError(
    "NO_GRADIENT",
    `${op.name}: a gradient is wanted for ${name} ${shapeText(tensor.shape)}, but ${why}. Freeze it (parameter.trainable = false), or detach the adapter ` +
      "before training the weights under it.",
    { op: op.name, tensor: name },
  );
}

/** The tensor, or a copy of it where its rows lie apart and the op needs them packed. */
function packed(op: AnyOp, name: string, tensor: Tensor, temporary: Tensor[]): Tensor {
  if (tensor.packed || !op.packed?.includes(op.variadic ? "x" : name)) return tensor;
  const copy = empty(tensor.shape, tensor.dtype);
  temporary.push(copy);
  engine().kernels.copy(copy, tensor);
  return copy;
}
