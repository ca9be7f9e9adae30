/** @file Initial values. */
import type { Parameter } from "../autograd/parameter.js";
import { engine } from "../native/engine.js";
import type { RandomSource } from "./module.js";

/** Uniform in [−bound, bound). */
export function uniform(parameter: Parameter, bound: number, { seed, site }: RandomSource): void {
  engine().kernels.uniform(parameter.target(), seed, site, -bound, bound);
}

/**
 * kaiming_uniform with a = √5, as torch.nn.Linear and PEFT's lora_A use it: uniform in ±1/√fanIn (He et al., arXiv 1502.01852). A fan-in
 * of 0 gives nothing to fill.
 */
export function kaimingUniform(parameter: Parameter, fanIn: number, random: RandomSource): void {
  uniform(parameter, fanIn === 0 ? 0 : 1 / Math.sqrt(fanIn), random);
}
