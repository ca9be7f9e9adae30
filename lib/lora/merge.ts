/** @file Adding branches to the weights under them, and putting the weights' exact bytes back. */
import { withTape } from "../autograd/apply.js";
import type { Parameter } from "../autograd/parameter.js";
import { cast, matmul, mul, scale } from "../functions.js";
import { engine } from "../native/engine.js";
import { LowrankError, quoted } from "../native/errors.js";
import type { LowRankBranch } from "../nn/index.js";
import { outsideScopes, tidy } from "../tensor/scope.js";
import { empty, type Tensor, viewOf } from "../tensor/tensor.js";
import { contentOf, type Merge, mergesOf, nameContent } from "./weights.js";

/** The product B·A is formed for so many elements of the weight at a time. */
const elementsAtOnce = 1 << 22;

/**
 * weight += scale · b·middle·a for each pair, in f32, rounded to the weight's dtype; keeps the bytes from before. All or none are merged.
 * @throws LowrankError OUT_OF_MEMORY
 */
export function mergeBranches(by: string, pairs: readonly { readonly weight: Parameter; readonly branch: LowRankBranch }[]): Merge[] {
  const done: Merge[] = [];
  try {
    for (const { weight, branch } of pairs) {
      const before = contentOf(weight);
      const original = outsideScopes(() => empty(weight.shape, weight.dtype, "state"));
      engine().kernels.copy(original, weight.value);
      // Named only when the weight is written; until then `after` says that nothing happened.
      done.push({ weight, by, original, before, after: before });
      withTape(undefined, () => addBranch(weight.target(), branch));
      done[done.length - 1] = { weight, by, original, before, after: contentOf(weight) };
    }
  } catch (error) {
    for (const merge of done.reverse()) restore(merge);
    throw error;
  }
  for (const merge of done) mergesOf(merge.weight).push(merge);
  return done;
}

/**
 * Puts the bytes from before the merges back.
 * @throws LowrankError ADAPTER_CONFLICT when something was merged later and not undone, ADAPTER_STATE when a weight was written since;
 * then nothing changes
 */
export function undoMerges(merges: readonly Merge[]): void {
  for (const merge of merges) checkUndo(merge);
  for (const merge of merges) {
    mergesOf(merge.weight).pop();
    restore(merge);
  }
}

/** Keeps the merged weights for good and frees what undoing them needs. */
export function forgetMerges(merges: readonly Merge[]): void {
  for (const merge of merges) {
    const all = mergesOf(merge.weight);
    all.splice(all.indexOf(merge), 1);
    merge.original.dispose();
  }
}

function checkUndo(merge: Merge): void {
  const last = mergesOf(merge.weight).at(-1);
  if (last !== merge) {
    const message = `unmerge: ${quoted(last?.by ?? "")} was merged after ${quoted(merge.by)} into the same weights. Unmerge it first.`;
    throw new LowrankError("ADAPTER_CONFLICT", message, { expected: merge.by, actual: last?.by });
  }
  if (contentOf(merge.weight) === merge.after) return;
  const message = `unmerge: a weight was written (loaded, assigned or trained) after ${quoted(merge.by)} was merged; putting the old bytes back would undo that. Dispose the adapter to keep the weights as they are.`;
  throw new LowrankError("ADAPTER_STATE", message);
}

function restore({ weight, original, before }: Merge): void {
  engine().kernels.copy(weight.target(), original);
  nameContent(weight, before);
  original.dispose();
}

function addBranch(weight: Tensor, { a, b, middle, scale: factor }: LowRankBranch): void {
  const [outputs = 0, inputs = 0] = weight.shape;
  const step = Math.max(1, Math.floor(elementsAtOnce / Math.max(1, inputs)));
  for (let row = 0; row < outputs; row += step) {
    const rows = Math.min(step, outputs - row);
    tidy(() => {
      const part = rowsOf(weight, row, rows);
      const left = rowsOf(b.value, row, rows);
      const scaled = scale(
        (middle === undefined ? left : mul(left as Tensor<[number, number], "f32">, middle.value as Tensor<[number], "f32">)) as Tensor<
          [number, number],
          "f32"
        >,
        factor,
      );
      const change = matmul(scaled, a.value as Tensor<[number, number], "f32">);
      if (part.dtype === "f32") engine().kernels.accumulate(part, change);
      else {
        const sum = cast(part, "f32");
        engine().kernels.accumulate(sum, change);
        engine().kernels.cast(part, sum);
      }
    });
  }
}

const rowsOf = (matrix: Tensor, start: number, count: number): Tensor =>
  viewOf(matrix, [count, matrix.cols], { offset: matrix.offset + start * matrix.ld, ld: matrix.ld });
