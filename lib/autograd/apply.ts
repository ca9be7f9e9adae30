/** @file Runs an op: checks, outputs, kernels, and a tape node where a gradient may be wanted. */
import { engine } from "../native/engine.js";
import { LowrankError } from "../native/errors.js";
import type { AnyOp } from "../ops/op.js";
import { type ArgumentSpec, type Bindings, bind, shapeOf } from "../ops/signature.js";
import type { DType } from "../tensor/dtype.js";
import { shapeText } from "../tensor/shape.js";
import { checkTensor, empty, type Tensor } from "../tensor/tensor.js";
import { OpNode, type Tape, type Target } from "./tape.js";

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

/**
 * Runs `op` on `inputs` (an absent optional one is undefined).
 * @throws LowrankError BAD_SHAPE, BAD_DTYPE, BAD_ARGUMENT, DISPOSED, WRONG_ENVIRONMENT, OUT_OF_MEMORY; NO_GRADIENT when an input is trained
 * whose gradient the op does not have.
 */
export function apply(op: AnyOp, inputs: Inputs, params: object = {}): Tensor {
  const present = checkInputs(op, inputs);
  const settings = { ...op.defaults, ...params };
  const shapes: Record<string, readonly number[]> = {};
  for (const [name, tensor] of present) shapes[name] = tensor.shape;
  const bindings = op.variadic ? { leading: undefined, sizes: new Map<string, number>() } : bind(op.name, op.parsed, shapes);
  const output = op.parsed.outputs[0] as ArgumentSpec;
  const shape = op.shape?.(shapes, settings) ?? shapeOf(output, bindings);
  const dtype = outputType(op, present, settings);
  const wanted = wantedInputs(op, present, recording);

  const temporary: Tensor[] = [];
  let y: Tensor | undefined;
  try {
    const first = present[0]?.[1];
    const alias = first !== undefined ? op.alias?.(first, settings, shape) : undefined;
    const operands = alias === undefined ? packOperands(op, present, temporary) : present;
    y = alias ?? empty(shape, dtype);
    const saves = alias === undefined ? makeSaves(op, bindings, wanted, temporary) : [];
    const named = new Map<string, Tensor>([...operands, [output.name, y], ...saves]);
    if (alias === undefined) op.forward(engine().kernels, Object.fromEntries(named), settings);
    if (recording !== undefined && wanted.length > 0) {
      const keeps = [...(op.keeps ?? []), ...saves.map(([name]) => name)];
      const keep = keeps.flatMap((name) => (named.has(name) ? [[name, named.get(name) as Tensor] as const] : []));
      recording.push(new OpNode(op, settings, y.id, output.name, wanted, keep));
    }
    return y;
  } catch (error) {
    y?.dispose();
    throw error;
  } finally {
    for (const tensor of temporary) tensor.dispose();
  }
}

function makeSaves(op: AnyOp, bindings: Bindings, wanted: readonly { name: string }[], temporary: Tensor[]): (readonly [string, Tensor])[] {
  const needed = op.parsed.saves.filter((spec) => !spec.optional || wanted.some(({ name }) => spec.name === `g${name}`));
  return needed.map((spec) => {
    const save = empty(shapeOf(spec, bindings), "f32");
    temporary.push(save);
    return [spec.name, save] as const;
  });
}

function checkInputs(op: AnyOp, inputs: Inputs): [string, Tensor][] {
  const names: readonly { name: string; optional: boolean }[] = op.variadic
    ? Object.keys(inputs).map((name) => ({ name, optional: false }))
    : op.parsed.inputs;
  return names.flatMap(({ name, optional }) => {
    const value = inputs[name];
    if (value === undefined && optional) return [];
    const tensor = checkTensor(`${op.name}: ${name}`, value);
    const allowed = op.dtypes[op.variadic ? "x" : name] ?? [];
    if (!allowed.includes(tensor.dtype)) {
      throw new LowrankError("BAD_DTYPE", `${op.name}: ${name} ${shapeText(tensor.shape)} is ${tensor.dtype}, expected ${allowed.join(" or ")}`, {
        op: op.name,
        tensor: name,
        expected: allowed,
        actual: tensor.dtype,
      });
    }
    return [[name, tensor] as [string, Tensor]];
  });
}

function outputType(op: AnyOp, present: readonly [string, Tensor][], settings: object): DType {
  const first = present[0]?.[1].dtype as DType;
  if (typeof op.output === "function") return op.output(settings, first);
  return op.output === "input" ? first : (op.output ?? "f32");
}

function wantedInputs(op: AnyOp, present: readonly [string, Tensor][], tape: Tape | undefined) {
  if (tape === undefined) return [];
  return present.flatMap(([name, tensor]) => {
    const target: Target | undefined = tape.targetOf(tensor);
    if (target === undefined) return [];
    if (op.gradients.includes(op.variadic ? "x" : name) && tensor.dtype === "f32") return [{ name, shape: tensor.shape, target }];
    if (op.gradients.length === 0) return [];
    const why = tensor.dtype === "f32" ? "the op has no gradient for this input" : `only f32 tensors have gradients, this one is ${tensor.dtype}`;
    throw new LowrankError(
      "NO_GRADIENT",
      `${op.name}: a gradient is wanted for ${name} ${shapeText(tensor.shape)}, but ${why}. Freeze it (parameter.trainable = false), or detach the adapter ` +
        "before training the weights under it.",
      { op: op.name, tensor: name },
    );
  });
}

/** Copies inputs whose rows lie apart where the op needs them packed. */
function packOperands(op: AnyOp, present: readonly [string, Tensor][], temporary: Tensor[]): [string, Tensor][] {
  return present.map(([name, tensor]) => {
    const needed = op.packed?.includes(op.variadic ? "x" : name) ?? false;
    if (!needed || tensor.packed) return [name, tensor];
    const copy = empty(tensor.shape, tensor.dtype);
    temporary.push(copy);
    engine().kernels.copy(copy, tensor);
    return [name, copy];
  });
}
