/** @file Plain sequential f32 implementations of the ops of transformers, as plain.ts has them for softmax and crossEntropy. */
import { lastSize, type Ref } from "../../lib/ops/reference.js";
import type { RefInputs } from "./oracle.js";
import { crossEntropy, f, largestOf, type Plain, type PlainOp, sum } from "./plain.js";

const get = (inputs: RefInputs, name: string): Ref => inputs[name] as Ref;
const value = (x: Ref | Float64Array, i: number): number => (x instanceof Float64Array ? x[i] : x.data[i]) as number;
const sigmoid = (x: number): number => f(1 / f(1 + f(Math.exp(-x))));

/** Fills an array and remembers the size of what was added up on the way. */
class Sums {
  readonly data: Float64Array;
  largest = 0;
  constructor(size: number) {
    this.data = new Float64Array(size);
  }
  add(i: number, term: number): void {
    this.data[i] = f((this.data[i] as number) + term);
    this.largest = Math.max(this.largest, Math.abs(term), Math.abs(this.data[i] as number));
  }
}

const swiglu: PlainOp = {
  forward: (inputs) => {
    const [gate, up] = [get(inputs, "gate"), get(inputs, "up")];
    const data = gate.data.map((g, i) => f(f(g * sigmoid(g)) * value(up, i)));
    return { data, largest: largestOf(data) };
  },
  gradient: (inputs, dy, _, name) => {
    const [gate, up] = [get(inputs, "gate"), get(inputs, "up")];
    let largest = 0;
    const data = gate.data.map((g, i) => {
      const [d, u, s] = [value(dy, i), value(up, i), sigmoid(g)];
      if (name === "up") return f(d * f(g * s));
      largest = Math.max(largest, Math.abs(d * u) * (1 + Math.abs(g)));
      return f(f(d * u) * f(s * f(1 + f(g * f(1 - s)))));
    });
    return { data, largest: Math.max(largest, largestOf(data)) };
  },
};

/** 1 / √(mean of squares + eps) of each row. */
function rstdOf(x: Ref, settings: Record<string, unknown>): (r: number) => number {
  const n = lastSize(x);
  return (r) => {
    const squares = sum(x.data.subarray(r * n, (r + 1) * n).map((v) => f(v * v)));
    return f(1 / f(Math.sqrt(f(f(squares / n) + f(settings["eps"] as number)))));
  };
}

const rmsNorm: PlainOp = {
  forward: (inputs, settings) => {
    const [x, w] = [get(inputs, "x"), get(inputs, "w")];
    const [n, rstd] = [lastSize(x), rstdOf(x, settings)];
    const data = x.data.map((v, i) => f(f(v * rstd(Math.floor(i / n))) * value(w, i % n)));
    return { data, largest: largestOf(data) };
  },
  gradient: (inputs, dy, settings, name) => {
    const [x, w] = [get(inputs, "x"), get(inputs, "w")];
    const [n, rstd] = [lastSize(x), rstdOf(x, settings)];
    const sums = new Sums(name === "w" ? n : x.data.length);
    for (let r = 0; r * n < x.data.length; r++) {
      const scale = rstd(r);
      const normal = x.data.subarray(r * n, (r + 1) * n).map((v) => f(v * scale));
      const own = dy.subarray(r * n, (r + 1) * n);
      if (name === "w") own.forEach((g, i) => void sums.add(i, f(g * value(normal, i))));
      else {
        const weighted = own.map((g, i) => f(g * value(w, i)));
        const mean = f(sum(weighted.map((g, i) => f(g * value(normal, i)))) / n);
        normal.forEach((v, i) => {
          sums.data[r * n + i] = f(scale * f(value(weighted, i) - f(v * mean)));
          sums.largest = Math.max(sums.largest, scale * Math.max(Math.abs(value(weighted, i)), largestOf(weighted) * Math.abs(v)));
        });
      }
    }
    return sums;
  },
};

function turn(x: Float64Array, shape: readonly number[], inputs: RefInputs, direction: 1 | -1): Plain {
  const [table, positions] = [get(inputs, "table"), get(inputs, "positions")];
  const [heads = 0, size = 0] = shape.slice(-2);
  const half = size / 2;
  const data = x.map((v, e) => {
    const [row, i] = [Math.floor(e / size), e % size];
    const start = value(positions, Math.floor(row / heads)) * size + (i % half);
    const [cosine, sine] = [value(table, start), direction * value(table, start + half)];
    return f(i < half ? f(v * cosine) - f(value(x, e + half) * sine) : f(v * cosine) + f(value(x, e - half) * sine));
  });
  return { data, largest: 2 * largestOf(x) * largestOf(table.data) };
}

const rope: PlainOp = {
  forward: (inputs) => turn(get(inputs, "x").data, get(inputs, "x").shape, inputs, 1),
  gradient: (inputs, dy) => turn(dy, get(inputs, "x").shape, inputs, -1),
};

type Visit = (row: number, keys: number[], weights: Float64Array) => void;

/**
 * Calls `visit` for every query row with the rows of its visible keys and their weights: divided by their sum, or (as backward has to)
 * from the stored log-sum-exp.
 */
function attend(inputs: RefInputs, settings: Record<string, unknown>, stored: boolean, visit: Visit): void {
  const [q, k, spans] = [get(inputs, "q"), get(inputs, "k"), get(inputs, "spans")];
  const [queries = 0, heads = 0, size = 0] = q.shape.slice(-3);
  const [count = 0, kvHeads = 0] = k.shape.slice(-3);
  for (let row = 0; row * size < q.data.length; row++) {
    const token = Math.floor(row / heads);
    const kv = Math.floor((row % heads) / (heads / kvHeads));
    const keys: number[] = [];
    for (let s = Math.max(0, value(spans, 2 * token)); s < Math.min(count, value(spans, 2 * token + 1)); s++)
      keys.push((Math.floor(token / queries) * count + s) * kvHeads + kv);
    const scores = Float64Array.from(keys, (key) => f(f(settings["factor"] as number) * dotRows(q, row, k, key, size)));
    const largest = Math.max(...scores);
    const weights = scores.map((score) => f(Math.exp(f(score - largest))));
    const total = sum(weights);
    const lse = f(largest + f(Math.log(total)));
    visit(row, keys, stored ? scores.map((score) => f(Math.exp(f(score - lse)))) : weights.map((weight) => f(weight / total)));
  }
}

/**
 * The largest Σ|a·b| of a row of a and a row of b: an absolute error of such a sum (u of this) is a relative one of its exponential, and so of
 * what is weighted by it.
 */
function largestProduct(a: Ref, b: Ref, rowsOfA: number, rowsOfB: number, n: number): number {
  let largest = 0;
  for (let i = 0; i < rowsOfA; i++) {
    for (let j = 0; j < rowsOfB; j++) {
      let total = 0;
      for (let c = 0; c < n; c++) total += Math.abs(value(a, i * n + c) * value(b, j * n + c));
      largest = Math.max(largest, total);
    }
  }
  return largest;
}

/** 1 + the size of the scores. */
function scoreSize(inputs: RefInputs, settings: Record<string, unknown>): number {
  const [q, k] = [get(inputs, "q"), get(inputs, "k")];
  const n = lastSize(q);
  if (n === 0) return 1;
  return 1 + Math.abs(settings["factor"] as number) * largestProduct(q, k, q.data.length / n, k.data.length / n, n);
}

const dotRows = (a: Ref | Float64Array, i: number, b: Ref, j: number, n: number): number =>
  sum(Float64Array.from({ length: n }, (_, c) => f(value(a, i * n + c) * value(b, j * n + c))));

function attentionOutput(inputs: RefInputs, settings: Record<string, unknown>): Plain {
  const [q, v] = [get(inputs, "q"), get(inputs, "v")];
  const size = lastSize(q);
  const y = new Sums(q.data.length);
  attend(inputs, settings, false, (row, keys, weights) => {
    keys.forEach((key, i) => {
      for (let c = 0; c < size; c++) y.add(row * size + c, f(value(weights, i) * value(v, key * size + c)));
    });
  });
  return { data: y.data, largest: largestOf(v.data) * scoreSize(inputs, settings) };
}

const attention: PlainOp = {
  forward: attentionOutput,
  gradient: (inputs, dy, settings, name) => {
    const [q, k, v] = [get(inputs, "q"), get(inputs, "k"), get(inputs, "v")];
    const size = lastSize(q);
    const y = attentionOutput(inputs, settings).data;
    const sums = new Sums(get(inputs, name).data.length);
    attend(inputs, settings, true, (row, keys, weights) => {
      const delta = sum(Float64Array.from({ length: size }, (_, c) => f(value(dy, row * size + c) * value(y, row * size + c))));
      keys.forEach((key, i) => {
        const towards = dotRows(dy, row, v, key, size);
        const slope = f(f(f(settings["factor"] as number) * value(weights, i)) * f(towards - delta));
        const size3 = Math.abs(f(settings["factor"] as number) * value(weights, i)) * (Math.abs(towards) + Math.abs(delta));
        for (let c = 0; c < size; c++) {
          if (name === "v") sums.add(key * size + c, f(value(weights, i) * value(dy, row * size + c)));
          if (name === "q") sums.add(row * size + c, f(slope * value(k, key * size + c)));
          if (name === "k") sums.add(key * size + c, f(slope * value(q, row * size + c)));
        }
        // towards − delta cancels.
        if (name !== "v") sums.largest = Math.max(sums.largest, size3 * largestOf((name === "q" ? k : q).data));
      });
    });
    sums.largest *= scoreSize(inputs, settings);
    return sums;
  },
};

function logitsOf(inputs: RefInputs): RefInputs {
  const [x, w] = [get(inputs, "x"), get(inputs, "w")];
  const [n, size] = [w.shape[0] as number, lastSize(x)];
  const rows = x.shape.slice(0, -1).reduce((all, one) => all * one, 1);
  const data = Float64Array.from({ length: rows * n }, (_, i) => dotRows(x, Math.floor(i / n), w, i % n, size));
  return { logits: { shape: [...x.shape.slice(0, -1), n], data }, labels: get(inputs, "labels") };
}

/** The size of the logits. */
function logitSize(inputs: RefInputs): number {
  const [x, w] = [get(inputs, "x"), get(inputs, "w")];
  const n = lastSize(x);
  return n === 0 ? 0 : largestProduct(x, w, x.data.length / n, w.data.length / n, n);
}

const linearCrossEntropy: PlainOp = {
  forward: (inputs, settings) => {
    const plain = crossEntropy.forward(logitsOf(inputs), settings);
    return { ...plain, largest: Math.max(plain.largest, logitSize(inputs)) };
  },
  gradient: (inputs, dy, settings, name) => {
    const [x, w] = [get(inputs, "x"), get(inputs, "w")];
    const [n, size] = [w.shape[0] as number, lastSize(x)];
    const slopes = crossEntropy.gradient(logitsOf(inputs), dy, settings, "logits");
    const sums = new Sums(get(inputs, name).data.length);
    slopes.data.forEach((slope, i) => {
      const [row, column] = [Math.floor(i / n), i % n];
      for (let c = 0; c < size; c++) {
        if (name === "x") sums.add(row * size + c, f(slope * value(w, column * size + c)));
        else sums.add(column * size + c, f(slope * value(x, row * size + c)));
      }
    });
    sums.largest = Math.max(sums.largest, slopes.largest * largestOf((name === "x" ? w : x).data)) * (1 + logitSize(inputs));
    return sums;
  },
};

export const transformerOps: Readonly<Record<string, PlainOp>> = { swiglu, rmsNorm, rope, attention, linearCrossEntropy };
