/** @file The registry: every op there is. Tests, docs/ops.md and benchmarks are generated from this list. */
import { addOp } from "./add.js";
import { argmaxOp } from "./argmax.js";
import { attentionOp } from "./attention.js";
import { castOp } from "./cast.js";
import { concatOp } from "./concat.js";
import { crossEntropyOp } from "./cross-entropy.js";
import { dropoutOp } from "./dropout.js";
import { embeddingOp } from "./embedding.js";
import { geluOp } from "./gelu.js";
import { linearOp } from "./linear.js";
import { linearCrossEntropyOp } from "./linear-cross-entropy.js";
import { loraLinearOp } from "./lora-linear.js";
import { matmulOp } from "./matmul.js";
import { mulOp } from "./mul.js";
import type { AnyOp } from "./op.js";
import { reluOp } from "./relu.js";
import { reshapeOp } from "./reshape.js";
import { rmsNormOp } from "./rms-norm.js";
import { ropeOp } from "./rope.js";
import { scaleOp } from "./scale.js";
import { siluOp } from "./silu.js";
import { sliceOp } from "./slice.js";
import { softmaxOp } from "./softmax.js";
import { meanOp, sumOp } from "./sum.js";
import { swigluOp } from "./swiglu.js";
import { transposeOp } from "./transpose.js";

export const registry: readonly AnyOp[] = [
  addOp,
  mulOp,
  scaleOp,
  linearOp,
  matmulOp,
  loraLinearOp,
  reluOp,
  geluOp,
  siluOp,
  softmaxOp,
  crossEntropyOp,
  sumOp,
  meanOp,
  reshapeOp,
  sliceOp,
  concatOp,
  transposeOp,
  castOp,
  dropoutOp,
  argmaxOp,
  embeddingOp,
  rmsNormOp,
  swigluOp,
  ropeOp,
  attentionOp,
  linearCrossEntropyOp,
];

/** Kernels that belong to no op: memory, the optimizer's side of a step, initialisation, decompositions. */
export const kernelsWithoutOp = [
  "fill",
  "copy",
  "quantize_rows",
  "quantize_scales",
  "accumulate",
  "uniform",
  "multiply_add",
  "record_loss",
  "grad_squares",
  "step_gate",
  "adam",
  "sgd",
  "svd",
  "rope_table",
] as const;

export type { AnyOp } from "./op.js";
export {
  addOp,
  argmaxOp,
  attentionOp,
  castOp,
  concatOp,
  crossEntropyOp,
  dropoutOp,
  embeddingOp,
  geluOp,
  linearCrossEntropyOp,
  linearOp,
  loraLinearOp,
  matmulOp,
  meanOp,
  mulOp,
  reluOp,
  reshapeOp,
  rmsNormOp,
  ropeOp,
  scaleOp,
  siluOp,
  sliceOp,
  softmaxOp,
  sumOp,
  swigluOp,
  transposeOp,
};
