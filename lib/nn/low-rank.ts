/** @file What a linear layer knows of adapters: low-rank branches beside its weight. Which method made them it does not know. */
import { currentTape } from "../autograd/apply.js";
import type { Parameter } from "../autograd/parameter.js";
import { add, dropout, linear, loraLinear, mul, scale } from "../functions.js";
import type { Tensor } from "../tensor/tensor.js";

/** y += scale · ((drop(x)·aᵀ)·middle)·bᵀ */
export interface LowRankBranch {
  /** [R, I] */
  readonly a: Parameter;
  /** [O, R] */
  readonly b: Parameter;
  /** A diagonal [R]; undefined: the identity. */
  readonly middle?: Parameter;
  readonly scale: number;
  /** Probability; drawn only while gradients are recorded. */
  readonly dropout: number;
  /** Tells the layer from all others, for dropout. */
  readonly site: string;
  /** A disabled branch adds nothing. */
  enabled: boolean;
}

/** x·wᵀ + bias and the enabled branches: the first one fused, further ones composed. */
export function linearWithBranches(x: Tensor, weight: Tensor, bias: Tensor | undefined, branches: readonly LowRankBranch[]): Tensor {
  const [first, ...others] = branches.filter(({ enabled }) => enabled);
  if (first === undefined) return linear(x, weight, bias);
  const y = loraLinear(x, weight, first.a.value, first.b.value, {
    bias,
    middle: first.middle?.value,
    scale: first.scale,
    dropout: activeDropout(first),
    site: first.site,
  });
  return others.reduce((sum, branch) => add(sum, composedBranch(x, branch)), y as Tensor);
}

function composedBranch(x: Tensor, branch: LowRankBranch): Tensor {
  const p = activeDropout(branch);
  const h = linear(p > 0 ? dropout(x, { p, site: branch.site }) : x, branch.a.value);
  return scale(linear(branch.middle === undefined ? h : mul(h, branch.middle.value), branch.b.value), branch.scale);
}

const activeDropout = (branch: LowRankBranch): number => (currentTape() === undefined ? 0 : branch.dropout);
