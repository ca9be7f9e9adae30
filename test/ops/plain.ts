/** @file Plain sequential f32 implementations of the ops whose bound is the rule of FlashAttention. Every operation is rounded once. */
import { lastSize, type Ref } from "../../lib/ops/reference.js";
import type { RefInputs } from "./oracle.js";

/** A result, and the size of the largest value that was added up or subtracted on the way. */
export interface Plain {
  readonly data: Float64Array;
  readonly largest: number;
  /**
   * What a result of one element was added up from. Errors of terms that cancel there by luck say nothing of another implementation: the root of
   * the sum of their squares is allowed where that is more.
   */
  readonly terms?: Float64Array;
}

export interface PlainOp {
  forward(inputs: RefInputs, settings: Record<string, unknown>): Plain;
  /** The gradient of the input `name`. */
  gradient(inputs: RefInputs, dy: Float64Array, settings: Record<string, unknown>, name: string): Plain;
}

let rounding: (x: number) => number = Math.fround;
/** Rounds a result to f32. */
export const f = (x: number): number => rounding(x);

/** Runs plain implementations without rounding: every element in float64. */
export function inFloat64<T>(fn: () => T): T {
  rounding = (x) => x;
  try {
    return fn();
  } finally {
    rounding = Math.fround;
  }
}

export const largestOf = (values: Iterable<number>): number => [...values].reduce((most, value) => Math.max(most, Math.abs(value)), 0);
export const sum = (values: Float64Array): number => values.reduce((total, value) => f(total + value), 0);

function softmaxRow(row: Float64Array): Float64Array {
  const max = Math.max(...row);
  const weights = row.map((value) => f(Math.exp(f(value - max))));
  const total = sum(weights);
  return weights.map((weight) => f(weight / total));
}

function logSumExp(row: Float64Array): number {
  const max = Math.max(...row);
  return f(max + f(Math.log(sum(row.map((value) => f(Math.exp(f(value - max))))))));
}

/** fn of each row of x and of the same row of `other`, joined. */
function rows(x: Ref, fn: (row: Float64Array, r: number) => Float64Array): Float64Array {
  const cols = lastSize(x);
  const data = new Float64Array(x.data.length);
  for (let r = 0; r * cols < data.length; r++) data.set(fn(x.data.subarray(r * cols, (r + 1) * cols), r), r * cols);
  return data;
}

export const softmax: PlainOp = {
  forward: ({ x }) => {
    const data = rows(x as Ref, softmaxRow);
    return { data, largest: largestOf(data) };
  },
  gradient: ({ x }, dy) => {
    const cols = lastSize(x as Ref);
    let largest = 0;
    const data = rows(x as Ref, (row, r) => {
      const y = softmaxRow(row);
      const g = dy.subarray(r * cols, (r + 1) * cols);
      const products = y.map((value, i) => f(value * (g[i] as number)));
      const dot = sum(products);
      // y·(g − Σ y·g) cancels: its rounding is that of y times both terms.
      y.forEach((value, i) => {
        largest = Math.max(largest, value * (Math.abs(g[i] as number) + largestOf(products)));
      });
      return y.map((value, i) => f(value * f((g[i] as number) - dot)));
    });
    return { data, largest };
  },
};

const counting = (labels: Ref, { ignoreIndex }: Record<string, unknown>): number => labels.data.filter((label) => label !== ignoreIndex).length;

export const crossEntropy: PlainOp = {
  forward: ({ logits, labels }, settings) => {
    const { data, shape } = logits as Ref;
    const cols = shape[shape.length - 1] as number;
    const n = settings["reduction"] === "mean" ? Math.max(1, counting(labels as Ref, settings)) : 1;
    let total = 0;
    let largest = 0;
    const terms = new Float64Array((labels as Ref).data.length);
    (labels as Ref).data.forEach((label, r) => {
      if (label === settings["ignoreIndex"]) return;
      const row = data.subarray(r * cols, (r + 1) * cols);
      const [lse, own] = [logSumExp(row), row[label] as number];
      terms[r] = f(lse - own) / n;
      total = f(total + f(lse - own));
      largest = Math.max(largest, Math.abs(lse), Math.abs(own), Math.abs(total));
    });
    return { data: Float64Array.of(f(total / n)), largest: largest / n, terms };
  },
  gradient: ({ logits, labels }, dy, settings) => {
    const n = settings["reduction"] === "mean" ? counting(labels as Ref, settings) : 1;
    const factor = f((dy[0] as number) / n);
    const data = rows(logits as Ref, (row, r) => {
      const label = (labels as Ref).data[r];
      if (label === settings["ignoreIndex"]) return row.map(() => 0);
      const lse = logSumExp(row);
      return row.map((value, i) => f(factor * f(f(Math.exp(f(value - lse))) - (i === label ? 1 : 0))));
    });
    return { data, largest: n === 0 ? 0 : Math.abs(factor) };
  },
};
