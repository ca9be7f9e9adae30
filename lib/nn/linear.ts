import { Parameter } from "../autograd/parameter.js";
import { LowrankError } from "../native/errors.js";
import type { WeightDType } from "../tensor/dtype.js";
import type { Dim, Dyn, Shape, Sizes } from "../tensor/shape.js";
import type { Tensor } from "../tensor/tensor.js";
import { kaimingUniform } from "./init.js";
import { type LowRankBranch, linearWithBranches } from "./low-rank.js";
import { Module, type RandomSource } from "./module.js";

export interface LinearOptions {
  /** Default true. */
  readonly bias?: boolean;
  /** Storage type of the weight; default f32. Only f32 weights can be trained. */
  readonly dtype?: WeightDType;
}

/**
 * y[..., O] = x[..., I]·weight[O, I]ᵀ + bias[O]. Names, argument order and initial values (uniform in ±1/√I) as torch.nn.Linear.
 */
export class Linear<const I extends Dim = Dyn, const O extends Dim = Dyn> extends Module {
  readonly inFeatures: number;
  readonly outFeatures: number;
  readonly weight: Parameter<[O, I], WeightDType>;
  readonly bias: Parameter<[O], "f32"> | undefined;
  /** Low-rank branches of adapters; managed by them. @internal */
  readonly branches: LowRankBranch[] = [];

  constructor(inFeatures: I & number, outFeatures: O & number, { bias = true, dtype = "f32" }: LinearOptions = {}) {
    super();
    for (const [name, size] of Object.entries({ inFeatures, outFeatures })) {
      if (!Number.isSafeInteger(size) || size < 1)
        throw new LowrankError("BAD_ARGUMENT", `Linear: ${name} is a positive integer, found ${String(size)}`);
    }
    this.inFeatures = inFeatures;
    this.outFeatures = outFeatures;
    this.weight = new Parameter<[O, I], WeightDType>([outFeatures, inFeatures] as unknown as Sizes<[O, I]>, dtype);
    this.bias = bias ? new Parameter<[O], "f32">([outFeatures] as unknown as Sizes<[O]>, "f32") : undefined;
  }

  forward<P extends Shape = Dyn>(x: Tensor<[...P, NoInfer<I>], "f32">): Tensor<[...P, O], "f32"> {
    return linearWithBranches(x, this.weight.value, this.bias?.value, this.branches) as Tensor<[...P, O], "f32">;
  }

  protected override initializeParameter(_name: string, parameter: Parameter, random: RandomSource): void {
    kaimingUniform(parameter, this.inFeatures, random);
  }
}
