/** @file Initial values. */
import type { Parameter } from "../autograd/parameter.js";
import { engine } from "../native/engine.js";
import { tidy } from "../tensor/scope.js";
import { empty, type Tensor } from "../tensor/tensor.js";
import type { RandomSource } from "./module.js";

/** Uniform in [−bound, bound), rounded to the parameter's dtype. */
export function uniform(parameter: Parameter, bound: number, { seed, site }: RandomSource): void {
  fillWith(parameter, (target) => engine().kernels.uniform(target, seed, site, -bound, bound));
}

/** Every element the same. */
export function constant(parameter: Parameter, value: number): void {
  fillWith(parameter, (target) => engine().kernels.fill(target, value));
}

/**
 * kaiming_uniform with a = √5, as torch.nn.Linear and PEFT's lora_A use it: uniform in ±1/√fanIn (He et al., arXiv 1502.01852). A fan-in
 * of 0 gives nothing to fill.
 */
export function kaimingUniform(parameter: Parameter, fanIn: number, random: RandomSource): void {
  uniform(parameter, fanIn === 0 ? 0 : 1 / Math.sqrt(fanIn), random);
}

/** Kernels that make values write f32; other dtypes are rounded from an f32 tensor. */
function fillWith(parameter: Parameter, make: (target: Tensor) => void): void {
  const target = parameter.target();
  if (parameter.dtype === "f32") return make(target);
  tidy(() => {
    const values = empty(parameter.shape, "f32");
    make(values);
    engine().kernels.cast(target, values);
  });
}
