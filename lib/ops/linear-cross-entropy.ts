import { weightDTypes } from "../tensor/dtype.js";
import { ignoredLabel } from "../tensor/labels.js";
import { type CrossEntropyParams, checkCrossEntropy, crossEntropyOp } from "./cross-entropy.js";
import { linearOp } from "./linear.js";
import { type Compose, defineOp, fold } from "./op.js";

export const linearCrossEntropyOp = defineOp({
  name: "linearCrossEntropy",
  signature: "x[..., D], w[V, D], labels[...] -> loss[]; save count[], gx[..., D]?, gw[V, D]?",
  formula: "loss = crossEntropy(x·wᵀ, labels), in chunks of rows; its gradients gx and gw are formed on the way, the logits are never kept",
  dtypes: { x: ["f32"], w: weightDTypes, labels: ["i32"] },
  gradients: ["x", "w"],
  packed: ["labels"],
  defaults: { reduction: "mean", ignoreIndex: ignoredLabel } as CrossEntropyParams,
  shape: (_, params) => {
    checkCrossEntropy("linearCrossEntropy", params);
    return [];
  },
  forward: (k, { loss, count, gx, gw, x, w, labels }, { reduction, ignoreIndex }) =>
    k.linear_cross_entropy(loss, count, gx, gw, x, w, fold(labels, x?.rows ?? 0, 1), ignoreIndex, reduction === "mean"),
  backward: (k, { dx, dw, dloss, gx, gw }) => {
    if (dx !== undefined) k.mul_forward(dx, gx, dloss);
    if (dw !== undefined) k.mul_forward(dw, gw, dloss);
  },
  composed: <T>(apply: Compose<T>, { x, w, labels }: Record<string, T | undefined>, { reduction, ignoreIndex }: CrossEntropyParams) =>
    apply(crossEntropyOp, { logits: apply(linearOp, { x, w }), labels }, { reduction, ignoreIndex }),
  tolerance: "flash",
  values: { labels: "below V" },
  cases: [{ reduction: "sum" }],
});
