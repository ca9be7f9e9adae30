/** @file Parameters: tensors with a name, that training changes in place. */
import { engine } from "../native/engine.js";
import { LowrankError } from "../native/errors.js";
import { type DType, isQuantized } from "../tensor/dtype.js";
import { outsideScopes } from "../tensor/scope.js";
import { type Dyn, type Shape, type Sizes, sameShape, shapeText } from "../tensor/shape.js";
import { bytesOf, checkTensor, empty, type Tensor } from "../tensor/tensor.js";
import { structureChanged } from "./structure.js";

const owners = new WeakMap<Tensor, Parameter>();

/** A weight of a module or adapter. It owns its tensor and its gradient. */
export class Parameter<out S extends Shape = Dyn, out D extends DType = Dyn> {
  readonly shape: Sizes<S>;
  readonly dtype: D;
  /** Whether `valueAndGrad` computes a gradient for it. Only f32 parameters can be trained. */
  trainable: boolean;
  /** Whether it was made of a tensor; `initialize` then leaves it alone. */
  readonly given: boolean;
  /** Whether a gradient was ever computed for it. @internal */
  touched = false;
  /** What `valueAndGrad` has added up since it was last cleared. */
  grad: Tensor<S, "f32"> | undefined;
  #value: Tensor<S, D> | undefined;

  /** Makes a parameter of a tensor, which it takes over (its bytes are moved to memory that outlives scopes and failures). */
  constructor(source: Tensor<S, D>);
  /** Declares a parameter that has no value until `initialize`, `load` or `assign` gives it one. */
  constructor(shape: Sizes<S>, dtype: D);
  constructor(source: Tensor<S, D> | Sizes<S>, dtype?: D) {
    const given = Array.isArray(source) ? undefined : (checkTensor("Parameter", source) as Tensor<S, D>);
    this.shape = given === undefined ? (Object.freeze([...(source as readonly number[])]) as Sizes<S>) : given.shape;
    this.dtype = given?.dtype ?? (dtype as D);
    this.trainable = this.dtype === "f32";
    this.given = given !== undefined;
    if (given !== undefined) {
      this.assign(given);
      given.dispose();
    }
  }

  /** @throws LowrankError NOT_INITIALIZED when it has no value yet. */
  get value(): Tensor<S, D> {
    if (this.#value !== undefined) return this.#value;
    throw new LowrankError(
      "NOT_INITIALIZED",
      `This parameter ${shapeText(this.shape)} has no value yet. Call initialize(seed) or load(file) on its module first.`,
    );
  }

  get initialized(): boolean {
    return this.#value !== undefined;
  }

  /** The tensor to fill in place: the value, made if there is none yet. @internal */
  target(): Tensor<S, D> {
    this.#value ??= outsideScopes(() => empty(this.shape, this.dtype, "state") as Tensor<S, D>);
    owners.set(this.#value, this);
    this.#value.storage.version++;
    return this.#value;
  }

  /** Copies `source` into the parameter in place. Shapes and dtypes must be equal. */
  assign(source: Tensor): void {
    checkTensor("assign", source);
    if (!sameShape(source.shape, this.shape)) {
      throw new LowrankError("BAD_SHAPE", `assign: the parameter is ${shapeText(this.shape)}, the source ${shapeText(source.shape)}`);
    }
    if (source.dtype !== this.dtype) {
      throw new LowrankError("BAD_DTYPE", `assign: the parameter is ${this.dtype}, the source ${source.dtype}`);
    }
    const target = this.target();
    if (isQuantized(this.dtype)) engine().kernels.copy(bytesOf(target), bytesOf(source));
    else engine().kernels.copy(target, source);
  }

  /** Puts another tensor in place of the value, which is freed. Scopes do not free it. @internal */
  rebind(value: Tensor<S, D>): void {
    structureChanged();
    const before = this.#value;
    this.#value = value;
    owners.set(value, this);
    before?.dispose();
  }

  /** Adds `gradient` to `grad`, and frees it. @internal */
  addGradient(gradient: Tensor): void {
    this.touched = true;
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
    structureChanged();
    this.clearGradient();
    this.#value?.dispose();
  }
}

/** The parameter whose value a tensor is. */
export const parameterOf = (tensor: Tensor): Parameter | undefined => owners.get(tensor);
