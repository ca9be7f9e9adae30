import { currentTape } from "../autograd/apply.js";
import { dropout } from "../functions.js";
import { LowrankError } from "../native/errors.js";
import type { Dyn, Shape } from "../tensor/shape.js";
import type { Tensor } from "../tensor/tensor.js";
import { Module } from "./module.js";

/**
 * Zeroes elements with probability p and scales the others by 1 / (1 − p), while gradients are recorded (in `valueAndGrad` and `train`);
 * otherwise the identity. Each Dropout of a model draws masks of its own, told apart by its path in the model (known from `initialize` or
 * `load` on).
 */
export class Dropout extends Module {
  readonly p: number;
  #site = "";

  constructor(p = 0.5) {
    super();
    if (!(typeof p === "number" && p >= 0 && p <= 1))
      throw new LowrankError("BAD_ARGUMENT", `Dropout: p is a probability from 0 to 1, found ${String(p)}`);
    this.p = p;
  }

  protected override placed(path: string): void {
    this.#site = path;
  }

  forward<S extends Shape = Dyn>(x: Tensor<S, "f32">): Tensor<S, "f32"> {
    return this.p === 0 || currentTape() === undefined ? x : dropout(x, { p: this.p, site: this.#site });
  }
}
