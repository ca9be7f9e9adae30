/** @file Optimizers: which kernel updates the flat parameter buffer, with which state. Formulas of torch.optim. */

import type { View } from "../native/engine.js";
import { checkNames, LowrankError } from "../native/errors.js";
import type { Kernels } from "../native/kernels.js";

/** What an optimizer needs of a step beside the record. */
export interface FlatViews {
  readonly values: View;
  readonly gradients: View;
  /** One buffer like `values` for each of `stateBuffers`. */
  readonly state: readonly View[];
  /** The first so many elements take weight decay. */
  readonly decayed: number;
}

/** An optimizer and its settings; made by `adam`, `adamw` and `sgd`. */
export interface Optimizer {
  readonly name: "adam" | "adamw" | "sgd";
  readonly learningRate: number;
  readonly weightDecay: number;
  readonly stateBuffers: number;
  /** 1 − β^(step + 1) for step from 0. */
  corrections(step: number): { readonly biasCorrection1: number; readonly biasCorrection2: number };
  submit(k: Kernels, record: View, views: FlatViews): void;
}

export interface AdamOptions {
  /** Default 1e-3. */
  readonly learningRate?: number;
  /** Default 0 for adam (added to the gradient: coupled L2), 0.01 for adamw (decoupled). */
  readonly weightDecay?: number;
  /** Default [0.9, 0.999]. */
  readonly betas?: readonly [number, number];
  /** Default 1e-8. */
  readonly eps?: number;
}

export interface SgdOptions {
  /** Default 1e-3. */
  readonly learningRate?: number;
  /** Default 0; added to the gradient. */
  readonly weightDecay?: number;
  /** Default 0. */
  readonly momentum?: number;
  /** Default false. Needs a momentum. */
  readonly nesterov?: boolean;
}

/** Adam with coupled L2 (torch.optim.Adam; Kingma and Ba, arXiv 1412.6980). */
export const adam = (options: AdamOptions = {}): Optimizer => makeAdam("adam", options, 0, false);

/** Adam with decoupled weight decay (torch.optim.AdamW; Loshchilov and Hutter, arXiv 1711.05101). */
export const adamw = (options: AdamOptions = {}): Optimizer => makeAdam("adamw", options, 0.01, true);

function makeAdam(name: "adam" | "adamw", options: AdamOptions, defaultDecay: number, decoupled: boolean): Optimizer {
  checkNames(name, options, ["learningRate", "weightDecay", "betas", "eps"]);
  const { learningRate = 1e-3, weightDecay = defaultDecay, betas = [0.9, 0.999], eps = 1e-8 } = options;
  const [beta1, beta2] = betas;
  check(name, "learningRate", learningRate, learningRate >= 0);
  check(name, "weightDecay", weightDecay, weightDecay >= 0);
  check(name, "betas[0]", beta1, beta1 >= 0 && beta1 < 1);
  check(name, "betas[1]", beta2, beta2 >= 0 && beta2 < 1);
  check(name, "eps", eps, eps >= 0);
  return {
    name,
    learningRate,
    weightDecay,
    stateBuffers: 2,
    corrections: (step) => ({ biasCorrection1: 1 - beta1 ** (step + 1), biasCorrection2: 1 - beta2 ** (step + 1) }),
    submit: (k, record, { values, gradients, state: [m, v], decayed }) =>
      k.adam(values, m, v, gradients, record, decayed, decoupled, 1 - beta1, 1 - beta2, eps),
  };
}

/** Stochastic gradient descent with momentum (torch.optim.SGD). */
export function sgd(options: SgdOptions = {}): Optimizer {
  checkNames("sgd", options, ["learningRate", "weightDecay", "momentum", "nesterov"]);
  const { learningRate = 1e-3, weightDecay = 0, momentum = 0, nesterov = false } = options;
  check("sgd", "learningRate", learningRate, learningRate >= 0);
  check("sgd", "weightDecay", weightDecay, weightDecay >= 0);
  check("sgd", "momentum", momentum, momentum >= 0);
  if (nesterov && momentum === 0) throw new LowrankError("BAD_ARGUMENT", "sgd: nesterov needs a momentum above 0");
  return {
    name: "sgd",
    learningRate,
    weightDecay,
    stateBuffers: momentum > 0 ? 1 : 0,
    corrections: () => ({ biasCorrection1: 1, biasCorrection2: 1 }),
    submit: (k, record, { values, gradients, state: [buffer], decayed }) => k.sgd(values, buffer, gradients, record, decayed, momentum, nesterov),
  };
}

export const optimizersByName: Readonly<Record<string, (options: { learningRate?: number; weightDecay?: number }) => Optimizer>> = {
  adam,
  adamw,
  sgd,
};

function check(name: string, option: string, value: unknown, inRange: boolean): void {
  if (typeof value === "number" && Number.isFinite(value) && inRange) return;
  throw new LowrankError("BAD_ARGUMENT", `${name}: ${option} is out of range: ${String(value)}`, { actual: value });
}
