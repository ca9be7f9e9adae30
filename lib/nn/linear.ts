import { Parameter } from "../autograd/parameter.js";
import { LowrankError } from "../native/errors.js";
import type { WeightDType } from "../tensor/dtype.js";
import { type Dim, type Dyn, type Shape, type Sizes, sameShape, shapeText } from "../tensor/shape.js";
import type { Tensor } from "../tensor/tensor.js";
import { kaimingUniform } from "./init.js";
import { type LowRankBranch, linearWithBranches } from "./low-rank.js";
import { Module, type RandomSource } from "./module.js";

export interface LinearOptions {
  /** Default true. */
  readonly bias?: boolean;
  /** Storage type of the weight; default f32. Only f32 weights can be trained. */
  readonly dtype?: WeightDType;
  /** A weight [O, I] that belongs to another module too, in place of one of its own (a head tied to an embedding). */
  readonly weight?: Parameter;
  /** Whether it turns hidden states into logits: "all-linear" leaves such a layer out. */
  readonly isOutputLayer?: boolean;
}

/**
 * y[..., O] = x[..., I]·weight[O, I]ᵀ + bias[O]. Names, argument order and initial values (uniform in ±1/√I) as torch.nn.Linear.
 */
export class Linear<const I extends Dim = Dyn, const O extends Dim = Dyn> extends Module {
  readonly inFeatures: number;
  readonly outFeatures: number;
  readonly weight: Parameter<[O, I], WeightDType>;
  readonly bias: Parameter<[O], "f32"> | undefined;
  readonly isOutputLayer: boolean;
  /** Low-rank branches of adapters; managed by them. @internal */
  readonly branches: LowRankBranch[] = [];

  constructor(inFeatures: I & number, outFeatures: O & number, options: LinearOptions = {}) {
    super();
    const { bias = true, dtype = "f32", weight, isOutputLayer = false } = options;
    for (const [name, size] of Object.entries({ inFeatures, outFeatures })) {
      if (!Number.isSafeInteger(size) || size < 1)
        throw new LowrankError("BAD_ARGUMENT", `Linear: ${name} is a positive integer, found ${String(size)}`);
    }
    this.inFeatures = inFeatures;
    this.outFeatures = outFeatures;
    if (weight !== undefined && !sameShape(weight.shape, [outFeatures, inFeatures]))
      throw new LowrankError("BAD_SHAPE", `Linear: the weight is [${outFeatures}, ${inFeatures}], the one given ${shapeText(weight.shape)}`);
    this.isOutputLayer = isOutputLayer;
    this.weight = weight ?? new Parameter<[O, I], WeightDType>([outFeatures, inFeatures] as unknown as Sizes<[O, I]>, dtype);
    this.bias = bias ? new Parameter<[O], "f32">([outFeatures] as unknown as Sizes<[O]>, "f32") : undefined;
  }

  forward<P extends Shape = Dyn>(x: Tensor<[...P, NoInfer<I>], "f32">): Tensor<[...P, O], "f32"> {
    return linearWithBranches(x, this.weight.value, this.bias?.value, this.branches) as Tensor<[...P, O], "f32">;
  }

  protected override initializeParameter(_name: string, parameter: Parameter, random: RandomSource): void {
    kaimingUniform(parameter, this.inFeatures, random);
  }
}
