import { LowrankError } from "../native/errors.js";
import type { StepRecord } from "../tensor/step-record.js";
import { defineOp } from "./op.js";
import { dropoutKeeps, map } from "./reference.js";

export interface DropoutParams {
  /** Probability that an element becomes 0, from 0 to 1. */
  readonly p: number;
  /** A 32-bit number that tells this place in the model from all others. */
  readonly site: number;
  /** Holds seed, step and micro-batch: the mask is a pure function of these, the site and the element's index. */
  readonly record: StepRecord | undefined;
}

/** Checks a dropout probability. */
export function checkProbability(op: string, p: number): void {
  if (!(typeof p === "number" && p >= 0 && p <= 1))
    throw new LowrankError("BAD_ARGUMENT", `${op}: p is a probability from 0 to 1, found ${String(p)}`);
}

export const dropoutOp = defineOp({
  name: "dropout",
  signature: "x[...] -> y[...]",
  formula: "y = x ⊙ mask / (1 − p); the mask is drawn by Philox from (seed, step, micro-batch, site, element)",
  dtypes: { x: ["f32"] },
  gradients: ["x"],
  defaults: { p: 0.5, site: 0, record: undefined } as DropoutParams,
  shape: ({ x = [] }, { p }) => {
    checkProbability("dropout", p);
    return [...x];
  },
  forward: (k, { y, x }, { p, site, record }) => k.dropout(y, x, record, p, site),
  backward: (k, { dx, dy }, { p, site, record }) => k.dropout(dx, dy, record, p, site),
  reference: ({ x }, { p, site, record }) => {
    const settings = record?.settings ?? { seed: 0, step: 0, micro: 0 };
    return map(x, (value, i) => value * (p < 1 && dropoutKeeps(i, p, settings, site) ? 1 / (1 - Math.fround(p)) : 0));
  },
  tolerance: "ulp",
  cases: [{ p: 0.1, site: 7 }, { p: 0 }, { p: 1 }],
});
