import { LowrankError } from "../native/errors.js";
import { ignoredLabel } from "../tensor/labels.js";
import { defineOp, fold } from "./op.js";
import { at, fromIndex, lastSize } from "./reference.js";

export interface CrossEntropyParams {
  /** "mean" over the labels that count, or their "sum". */
  readonly reduction: "mean" | "sum";
  /** A row with this label counts nothing. */
  readonly ignoreIndex: number;
}

/** Checks reduction and ignoreIndex. */
export function checkCrossEntropy(op: string, { reduction, ignoreIndex }: CrossEntropyParams): void {
  if (reduction !== "mean" && reduction !== "sum") {
    throw new LowrankError("BAD_ARGUMENT", `${op}: reduction is "mean" or "sum", found ${JSON.stringify(reduction)}`);
  }
  if ((ignoreIndex | 0) !== ignoreIndex) {
    throw new LowrankError("BAD_ARGUMENT", `${op}: ignoreIndex must be a 32-bit integer, found ${ignoreIndex}`);
  }
}

export const crossEntropyOp = defineOp({
  name: "crossEntropy",
  signature: "logits[..., V], labels[...] -> loss[]; save lse[...], count[]",
  formula: "loss = Σ (log Σ exp(logits) − logits[label]), divided by the number of labels that count when reduction is mean",
  dtypes: { logits: ["f32"], labels: ["i32"] },
  gradients: ["logits"],
  keeps: ["logits", "labels"],
  packed: ["labels"],
  defaults: { reduction: "mean", ignoreIndex: ignoredLabel } as CrossEntropyParams,
  shape: (_, params) => {
    checkCrossEntropy("crossEntropy", params);
    return [];
  },
  forward: (k, { loss, lse, count, logits, labels }, { reduction, ignoreIndex }) => {
    const rows = logits?.rows ?? 0;
    k.cross_entropy_forward(loss, fold(lse, rows, 1), count, logits, fold(labels, rows, 1), ignoreIndex, reduction === "mean");
  },
  backward: (k, { dlogits, dloss, logits, labels, lse, count }, { reduction, ignoreIndex }) => {
    const rows = logits?.rows ?? 0;
    k.cross_entropy_backward(dlogits, dloss, logits, fold(labels, rows, 1), fold(lse, rows, 1), count, ignoreIndex, reduction === "mean");
  },
  reference: ({ logits, labels }, { reduction, ignoreIndex }) => {
    const cols = lastSize(logits);
    let total = 0;
    let counted = 0;
    labels.data.forEach((label, r) => {
      if (label === ignoreIndex) return;
      const row = logits.data.subarray(r * cols, (r + 1) * cols);
      const largest = Math.max(...row);
      total += largest + Math.log(row.reduce((sum, value) => sum + Math.exp(value - largest), 0)) - at(logits, r * cols + label);
      counted++;
    });
    return fromIndex([], () => (reduction === "sum" ? total : counted === 0 ? 0 : total / counted));
  },
  tolerance: "flash",
  values: { labels: "below V" },
  cases: [{ reduction: "sum" }],
});
