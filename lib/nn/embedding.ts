import { Parameter } from "../autograd/parameter.js";
import { embedding } from "../functions.js";
import { LowrankError } from "../native/errors.js";
import type { WeightDType } from "../tensor/dtype.js";
import type { Dim, Dyn, Shape, Sizes } from "../tensor/shape.js";
import type { Tensor } from "../tensor/tensor.js";
import { uniform } from "./init.js";
import { Module, type RandomSource } from "./module.js";

export interface EmbeddingOptions {
  /** Storage type of the weight; default f32. Only f32 weights can be trained. */
  readonly dtype?: WeightDType;
  /** Standard deviation of the initial values; default 1, as torch.nn.Embedding has it (there normal, here uniform). */
  readonly std?: number;
}

/** y[..., D] = weight[V, D] at tokens [...]. Names and argument order as torch.nn.Embedding. */
export class Embedding<const D extends Dim = Dyn> extends Module {
  readonly numEmbeddings: number;
  readonly embeddingDim: number;
  readonly weight: Parameter<[Dyn, D], WeightDType>;
  readonly #std: number;

  constructor(numEmbeddings: number, embeddingDim: D & number, { dtype = "f32", std = 1 }: EmbeddingOptions = {}) {
    super();
    for (const [name, size] of Object.entries({ numEmbeddings, embeddingDim })) {
      if (!Number.isSafeInteger(size) || size < 1)
        throw new LowrankError("BAD_ARGUMENT", `Embedding: ${name} is a positive integer, found ${String(size)}`);
    }
    this.numEmbeddings = numEmbeddings;
    this.embeddingDim = embeddingDim;
    this.weight = new Parameter<[Dyn, D], WeightDType>([numEmbeddings, embeddingDim] as unknown as Sizes<[Dyn, D]>, dtype);
    this.#std = std;
  }

  forward<P extends Shape = Dyn>(tokens: Tensor<P, "i32">): Tensor<[...P, D], "f32"> {
    return embedding(tokens, this.weight.value);
  }

  protected override initializeParameter(_name: string, parameter: Parameter, random: RandomSource): void {
    uniform(parameter, Math.sqrt(3) * this.#std, random);
  }
}
