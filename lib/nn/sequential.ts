import { LowrankError } from "../native/errors.js";
import type { Tensor } from "../tensor/tensor.js";
import { Module } from "./module.js";

/** A step of a Sequential: a module with `forward`, or a function such as `relu`. */
export type Step = (Module & { forward(x: Tensor): Tensor }) | ((x: Tensor) => Tensor);

/** Runs its steps one after the other. Parameters are named as in torch.nn.Sequential: "0.weight", "2.bias", … */
export class Sequential extends Module {
  [index: number]: Module;
  readonly #steps: readonly Step[];

  constructor(...steps: readonly Step[]) {
    super();
    this.#steps = steps;
    steps.forEach((step, i) => {
      if (step instanceof Module) this[i] = step;
      else if (typeof step !== "function") throw new LowrankError("BAD_ARGUMENT", `Sequential: step ${i} is neither a module nor a function`);
    });
  }

  forward(x: Tensor): Tensor {
    return this.#steps.reduce((value, step) => (typeof step === "function" ? step(value) : step.forward(value)), x);
  }
}
