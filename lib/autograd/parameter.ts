/** @file Parameters: tensors with a name, that training changes in place. */
import { engine } from "../native/engine.js";
import { LowrankError } from "../native/errors.js";
import type { DType } from "../tensor/dtype.js";
import { untrack } from "../tensor/scope.js";
import { type Dyn, type Shape, sameShape, shapeText } from "../tensor/shape.js";
import { checkTensor, type Tensor } from "../tensor/tensor.js";

const owners = new WeakMap<Tensor, Parameter>();

/** A weight of a module or adapter. It owns its tensor and its gradient. */
export class Parameter<out S extends Shape = Dyn, out D extends DType = Dyn> {
  /** Whether `valueAndGrad` computes a gradient for it. Only f32 parameters can be trained. */
  trainable: boolean;
  /** What `valueAndGrad` has added up since it was last cleared. */
  grad: Tensor<S, "f32"> | undefined;
  #value: Tensor<S, D>;

  /** Takes over the tensor: scopes do not free it. */
  constructor(value: Tensor<S, D>, { trainable = value.dtype === "f32" }: { trainable?: boolean } = {}) {
    this.trainable = trainable;
    this.#value = value;
    this.#own(value);
  }

  get value(): Tensor<S, D> {
    return this.#value;
  }

  /** Copies `source` into the parameter in place. Shapes and dtypes must be equal. */
  assign(source: Tensor): void {
    checkTensor("assign", source);
    if (!sameShape(source.shape, this.#value.shape)) {
      throw new LowrankError("BAD_SHAPE", `assign: the parameter is ${shapeText(this.#value.shape)}, the source ${shapeText(source.shape)}`);
    }
    if (source.dtype !== this.#value.dtype) {
      throw new LowrankError("BAD_DTYPE", `assign: the parameter is ${this.#value.dtype}, the source ${source.dtype}`);
    }
    engine().kernels.copy(this.#value, source);
    this.#value.storage.version++;
  }

  /** Puts another tensor in place of the value, which is freed. For loading and for moving parameters into one flat buffer. @internal */
  rebind(value: Tensor<S, D>): void {
    const before = this.#value;
    this.#value = value;
    this.#own(value);
    before.dispose();
  }

  /** Adds `gradient` to `grad`, and frees it. @internal */
  addGradient(gradient: Tensor): void {
    if (this.grad === undefined) {
      this.grad = gradient;
      return;
    }
    engine().kernels.accumulate(this.grad, gradient);
    gradient.dispose();
  }

  clearGradient(): void {
    this.grad?.dispose();
    this.grad = undefined;
  }

  dispose(): void {
    this.clearGradient();
    this.#value.dispose();
  }

  #own(value: Tensor<S, D>): void {
    untrack(value);
    owners.set(value, this);
  }
}

/** The parameter whose value a tensor is. */
export const parameterOf = (tensor: Tensor): Parameter | undefined => owners.get(tensor);
