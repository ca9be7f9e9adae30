/** @file Parameters in safetensors files. */
import type { Parameter } from "../autograd/parameter.js";
import { openSafetensors, type SafetensorsFile } from "../io/safetensors.js";
import { writeSafetensors } from "../io/safetensors-write.js";
import { readTensor, tensorSource } from "../io/tensors.js";
import { engine } from "../native/engine.js";
import { fileError, LowrankError, nearest, quoted } from "../native/errors.js";
import { type DType, isQuantized } from "../tensor/dtype.js";
import { sameShape, shapeText } from "../tensor/shape.js";
import type { Tensor } from "../tensor/tensor.js";

export interface LoadOptions {
  /** Default true: file and module must have the same names. False: names that only one of them has are passed over. */
  readonly strict?: boolean;
  readonly signal?: AbortSignal;
}

export async function saveParameters(parameters: ReadonlyMap<string, Parameter>, path: string): Promise<void> {
  for (const [name, { dtype }] of parameters) {
    if (!isQuantized(dtype)) continue;
    const message = `save: ${quoted(name)} is ${dtype}, which safetensors files do not know. Save the adapter, or the model as it was before it was quantised.`;
    throw new LowrankError("BAD_DTYPE", message, { tensor: name, actual: dtype });
  }
  const sources = [...parameters].map(([name, parameter]) => tensorSource(name, parameter.value));
  await writeSafetensors(path, sources, { format: "pt" });
}

export async function loadParameters(
  parameters: ReadonlyMap<string, Parameter>,
  path: string,
  { strict = true, signal }: LoadOptions,
): Promise<void> {
  const file = await openSafetensors(path, signal === undefined ? {} : { signal });
  const read = new Map<Parameter, Tensor>();
  try {
    if (strict) checkNames(file, parameters);
    for (const [name, parameter] of parameters) if (file.tensors.has(name)) checkTensorFits(file, name, parameter);
    for (const [name, parameter] of parameters) {
      if (file.tensors.has(name)) read.set(parameter, await readTensor(file, name, signal));
    }
  } catch (error) {
    for (const tensor of read.values()) tensor.dispose();
    throw error;
  } finally {
    await file.close();
  }
  for (const [parameter, tensor] of read) accept(parameter, tensor);
}

function checkNames(file: SafetensorsFile, parameters: ReadonlyMap<string, Parameter>): void {
  const missing = [...parameters.keys()].filter((name) => !file.tensors.has(name));
  const unexpected = [...file.tensors.keys()].filter((name) => !parameters.has(name));
  if (missing.length === 0 && unexpected.length === 0) return;
  const [code, names, what] =
    missing.length > 0
      ? (["TENSOR_MISSING", missing, "lacks"] as const)
      : (["TENSOR_UNEXPECTED", unexpected, "holds, and the module does not have,"] as const);
  const first = names[0] as string;
  const near = nearest(first, code === "TENSOR_MISSING" ? file.tensors.keys() : parameters.keys(), 1);
  const hint = near.length > 0 ? ` Is ${quoted(first)} the same as ${quoted(near[0] as string)}?` : "";
  throw fileError(
    code,
    file.path,
    `the file ${what} ${names.length} tensor${names.length > 1 ? "s" : ""}: ${names.slice(0, 5).map(quoted).join(", ")}${names.length > 5 ? ", …" : ""}.${hint} ` +
      "Load it into the module it was saved from, or pass strict: false to pass over such names.",
    { tensor: first, missing, unexpected },
  );
}

function checkTensorFits(file: SafetensorsFile, name: string, parameter: Parameter): void {
  if (isQuantized(parameter.dtype)) {
    const message = `load: ${quoted(name)} is ${parameter.dtype} and does not take the values of a file. Use loadModel with quantize, or assign(quantize(x, "${parameter.dtype}")).`;
    throw new LowrankError("BAD_DTYPE", message, { tensor: name, actual: parameter.dtype });
  }
  const { shape } = file.tensorOf(name, ["F32", "BF16", "F16"]);
  if (sameShape(shape, parameter.shape)) return;
  throw fileError("TENSOR_SHAPE", file.path, `tensor ${quoted(name)} is ${shapeText(shape)}, the module's ${shapeText(parameter.shape)}`, {
    tensor: name,
    expected: parameter.shape,
    actual: shape,
  });
}

/** Takes over a tensor that was read. */
function accept(parameter: Parameter, stored: Tensor): void {
  if ((stored.dtype as DType) === parameter.dtype) return parameter.rebind(stored);
  engine().kernels.cast(parameter.target(), stored);
  stored.dispose();
}
