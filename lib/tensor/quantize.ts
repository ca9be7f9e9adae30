/** @file Making quantised weights. */
import { engine } from "../native/engine.js";
import { LowrankError } from "../native/errors.js";
import { type FloatDType, isQuantized, nf4Block, type QuantizedDType, quantizedDTypes } from "./dtype.js";
import { type Dim, type Dyn, type Shape, shapeText } from "./shape.js";
import type { StorageKind } from "./storage.js";
import { checkTensor, empty, type Tensor } from "./tensor.js";

/** @throws LowrankError BAD_DTYPE for an unknown type, BAD_SHAPE for a matrix that cannot be held in it; `what` names what is to be quantised */
export function checkQuantizable(what: string, shape: readonly number[], dtype: unknown): asserts dtype is QuantizedDType {
  if (!isQuantized(dtype)) {
    const message = `${what}: can be quantised to ${quantizedDTypes.join(" or ")}, not to ${String(dtype)}`;
    throw new LowrankError("BAD_DTYPE", message, { expected: quantizedDTypes, actual: dtype });
  }
  if (shape.length !== 2)
    throw new LowrankError("BAD_SHAPE", `${what}: only matrices can be quantised, this is ${shapeText(shape)}`, { actual: shape });
  if (dtype === "int8" || (shape[1] as number) % nf4Block === 0) return;
  const message = `${what} is ${shapeText(shape)}, and nf4 needs rows of a multiple of ${nf4Block} elements. Use int8, or leave it as it is.`;
  throw new LowrankError("BAD_SHAPE", message, { expected: `a multiple of ${nf4Block}`, actual: shape[1] });
}

/** Quantises a matrix whose rows come a few at a time. The bytes do not depend on how they are cut. */
export class Quantizer {
  /** The quantised matrix, complete after `finish`. */
  readonly result: Tensor;
  /** Of nf4: the largest size in each block, until all are known. */
  readonly #absmax: Tensor | undefined;

  /** The shape is one that `checkQuantizable` lets through. */
  constructor(shape: readonly number[], dtype: QuantizedDType, kind?: StorageKind) {
    const absmax = dtype === "nf4" ? empty([((shape[0] as number) * (shape[1] as number)) / nf4Block], "f32") : undefined;
    try {
      this.result = empty(shape, dtype, kind);
      this.#absmax = absmax;
    } catch (error) {
      absmax?.dispose();
      throw error;
    }
  }

  /** Rows from `first` on, f32, bf16 or f16. A row that is not finite makes everything that reads the result reject with TENSOR_NONFINITE. */
  add(rows: Tensor, first: number): void {
    engine().kernels.quantize_rows(this.result, this.#absmax, rows, first);
  }

  finish(): Tensor {
    if (this.#absmax !== undefined) engine().kernels.quantize_scales(this.result, this.#absmax);
    this.#absmax?.dispose();
    return this.result;
  }

  /** Frees all of it. */
  dispose(): void {
    this.#absmax?.dispose();
    this.result.dispose();
  }
}

/**
 * A matrix [O, I] (f32, bf16 or f16) as an int8 or nf4 tensor, which `linear`, `loraLinear`, `embedding`, `linearCrossEntropy` and `cast` take.
 * int8 is rounded to 127 steps of the largest size in its row; nf4, with its scales quantised too, is what bitsandbytes makes (docs/quantized.md).
 * A row that holds NaN, infinity or a number beyond 2^126 makes everything that reads the result reject with TENSOR_NONFINITE.
 * @throws LowrankError BAD_DTYPE, BAD_SHAPE (nf4: I is not a multiple of 64), DISPOSED, OUT_OF_MEMORY
 */
export function quantize<O extends Dim = Dyn, I extends Dim = Dyn, D extends QuantizedDType = QuantizedDType>(
  x: Tensor<[O, I], FloatDType>,
  dtype: D,
): Tensor<[O, I], D> {
  const { shape, dtype: from } = checkTensor("quantize", x, "x");
  checkQuantizable("quantize: x", shape, dtype);
  if (from !== "f32" && from !== "bf16" && from !== "f16")
    throw new LowrankError("BAD_DTYPE", `quantize: x is ${from}, expected f32, bf16 or f16`, { expected: ["f32", "bf16", "f16"], actual: from });
  const quantizer = new Quantizer(shape, dtype);
  try {
    quantizer.add(x as Tensor<Shape>, 0);
    return quantizer.finish() as Tensor<[O, I], D>;
  } catch (error) {
    quantizer.dispose();
    throw error;
  }
}
