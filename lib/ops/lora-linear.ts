import { weightDTypes } from "../tensor/dtype.js";
import type { StepRecord } from "../tensor/step-record.js";
import { addOp } from "./add.js";
import { checkProbability, dropoutOp } from "./dropout.js";
import { linearOp } from "./linear.js";
import { mulOp } from "./mul.js";
import { type Compose, defineOp } from "./op.js";
import { scaleOp } from "./scale.js";
import { transposeOp } from "./transpose.js";

export interface LoraLinearParams {
  /** The s of the formula: alpha / rank, or alpha / √rank. */
  readonly scale: number;
  /** Dropout on x, on the low-rank path only. */
  readonly p: number;
  readonly site: number;
  readonly record: StepRecord | undefined;
  /** Whether the middle factor is a full matrix; set from its rank. */
  fullMiddle: boolean;
}

export const loraLinearOp = defineOp({
  name: "loraLinear",
  signature: "x[..., I], w[O, I], bias[O]?, a[R, I], m[R]|[R, R]?, b[O, R] -> y[..., O]; save h[..., R]",
  formula: "y = x·wᵀ + bias + s·((drop(x)·aᵀ)·m)·bᵀ; m is the identity, a diagonal or a matrix; h = drop(x)·aᵀ",
  dtypes: { x: ["f32"], w: weightDTypes, bias: ["f32"], a: ["f32"], m: ["f32"], b: ["f32"] },
  gradients: ["x", "bias", "a", "m", "b"],
  keeps: ["x", "w", "a", "m", "b"],
  defaults: { scale: 1, p: 0, site: 0, record: undefined, fullMiddle: false } as LoraLinearParams,
  shape: ({ m }, params) => {
    checkProbability("loraLinear", params.p);
    params.fullMiddle = m?.length === 2;
    return undefined;
  },
  forward: (k, { y, h, x, w, bias, a, m, b }, { scale, p, site, record }) => k.lora_forward(y, h, x, w, bias, a, m, b, record, scale, p, site),
  backward: (k, { dx, da, dm, db, dbias, dy, x, w, a, m, b, h }, { scale, p, site, record }) =>
    k.lora_backward(dx, da, dm, db, dbias, dy, x, w, a, m, b, h, record, scale, p, site),
  composed: <T>(
    apply: Compose<T>,
    { x, w, bias, a, m, b }: Record<string, T | undefined>,
    { scale, p, site, record, fullMiddle }: LoraLinearParams,
  ) => {
    const dropped = p > 0 ? apply(dropoutOp, { x }, { p, site, record }) : x;
    const h = apply(linearOp, { x: dropped, w: a });
    const middle = m === undefined ? h : fullMiddle ? apply(linearOp, { x: h, w: apply(transposeOp, { x: m }) }) : apply(mulOp, { a: h, b: m });
    const low = apply(scaleOp, { x: apply(linearOp, { x: middle, w: b }) }, { factor: scale });
    return apply(addOp, { a: apply(linearOp, { x, w, bias }), b: low });
  },
  tolerance: "reduction",
  cases: [{ scale: 2 }, { scale: 0.5, p: 0.25, site: 3 }],
});
