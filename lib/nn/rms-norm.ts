import { Parameter } from "../autograd/parameter.js";
import { rmsNorm } from "../functions.js";
import { LowrankError } from "../native/errors.js";
import type { Dim, Dyn, Shape, Sizes } from "../tensor/shape.js";
import type { Tensor } from "../tensor/tensor.js";
import { constant } from "./init.js";
import { Module } from "./module.js";

/** x / √(mean(x²) + eps) ⊙ weight[N] over the last axis, as torch.nn.RMSNorm. The weight starts at 1. */
export class RmsNorm<const N extends Dim = Dyn> extends Module {
  readonly eps: number;
  readonly weight: Parameter<[N], "f32">;

  constructor(size: N & number, { eps = 1e-6 }: { readonly eps?: number } = {}) {
    super();
    if (!Number.isSafeInteger(size) || size < 1)
      throw new LowrankError("BAD_ARGUMENT", `RmsNorm: the size is a positive integer, found ${String(size)}`);
    this.eps = eps;
    this.weight = new Parameter<[N], "f32">([size] as unknown as Sizes<[N]>, "f32");
  }

  forward<P extends Shape = Dyn>(x: Tensor<[...P, NoInfer<N>], "f32">): Tensor<[...P, N], "f32"> {
    return rmsNorm(x, this.weight.value, { eps: this.eps }) as Tensor<[...P, N], "f32">;
  }

  protected override initializeParameter(_name: string, parameter: Parameter): void {
    constant(parameter, 1);
  }
}
