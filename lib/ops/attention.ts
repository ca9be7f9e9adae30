import { LowrankError } from "../native/errors.js";
import { shapeText } from "../tensor/shape.js";
import { defineOp, fold, type View } from "./op.js";
import { at, type Ref } from "./reference.js";

export interface AttentionParams {
  /** Factor of the scores; undefined: 1/√K. */
  readonly scale: number | undefined;
}

/** Resolved parameters: sizes that views do not carry. */
interface Resolved extends AttentionParams {
  batch?: number;
  heads?: number;
  kvHeads?: number;
  factor?: number;
}

const pairs = (spans: View | undefined): View | undefined => spans && fold(spans, spans.rows, 2);

export const attentionOp = defineOp({
  name: "attention",
  signature: "q[..., T, H, K], k[..., S, G, K], v[..., S, G, K], spans[..., T, 2] -> y[..., T, H, K]; save lse[..., T, H]",
  formula: "y = softmax(scale·q·kᵀ over the keys [first, end) that spans names for each query)·v; head h reads kv head ⌊h / (H/G)⌋",
  dtypes: { q: ["f32"], k: ["f32"], v: ["f32"], spans: ["i32"] },
  gradients: ["q", "k", "v"],
  keeps: ["q", "k", "v", "spans", "y"],
  packed: ["q", "k", "v", "spans"],
  defaults: { scale: undefined } as Resolved,
  shape: ({ q = [], k = [] }, params) => {
    const [heads = 0, size = 0] = q.slice(-2);
    const kvHeads = k[k.length - 2] ?? 0;
    if (kvHeads === 0 ? heads > 0 : heads % kvHeads !== 0) {
      throw new LowrankError(
        "BAD_SHAPE",
        `attention: the ${heads} heads of q ${shapeText(q)} are not a multiple of the ${kvHeads} of k ${shapeText(k)}`,
        {
          expected: kvHeads,
          actual: heads,
        },
      );
    }
    const { scale = size === 0 ? 1 : 1 / Math.sqrt(size) } = params;
    if (!Number.isFinite(scale)) throw new LowrankError("BAD_ARGUMENT", `attention: scale is a finite number, found ${String(scale)}`);
    Object.assign(params, { batch: q.slice(0, -3).reduce((all, n) => all * n, 1), heads, kvHeads, factor: scale });
    return [...q];
  },
  forward: (kernels, { y, lse, q, k, v, spans }, { batch = 0, heads = 0, kvHeads = 0, factor = 1 }) =>
    kernels.attention_forward(y, fold(lse, q?.rows ?? 0, 1), q, k, v, pairs(spans), batch, heads, kvHeads, factor),
  backward: (kernels, { dq, dk, dv, dy, q, k, v, y, lse, spans }, { batch = 0, heads = 0, kvHeads = 0, factor = 1 }) =>
    kernels.attention_backward(dq, dk, dv, dy, q, k, v, y, fold(lse, q?.rows ?? 0, 1), pairs(spans), batch, heads, kvHeads, factor),
  reference: ({ q, k, v, spans }, { factor = 1 }) => {
    const [queries = 0, heads = 0, size = 0] = q.shape.slice(-3);
    const [keys = 0, kvHeads = 0] = k.shape.slice(-3);
    const y: Ref = { shape: q.shape, data: new Float64Array(q.data.length) };
    for (let row = 0; row * size < q.data.length; row++) {
      const token = Math.floor(row / heads);
      const kv = Math.floor((row % heads) / (heads / kvHeads));
      const key = (s: number): number => ((Math.floor(token / queries) * keys + s) * kvHeads + kv) * size;
      const [first, end] = [Math.max(0, at(spans, 2 * token)), Math.min(keys, at(spans, 2 * token + 1))];
      const scores: number[] = [];
      for (let s = first; s < end; s++) {
        let dot = 0;
        for (let c = 0; c < size; c++) dot += at(q, row * size + c) * at(k, key(s) + c);
        scores.push(Math.fround(factor) * dot);
      }
      const largest = Math.max(...scores);
      const weights = scores.map((score) => Math.exp(score - largest));
      const total = weights.reduce((sum, weight) => sum + weight, 0);
      weights.forEach((weight, i) => {
        for (let c = 0; c < size; c++) y.data[row * size + c] = at(y, row * size + c) + (weight / total) * at(v, key(first + i) + c);
      });
    }
    return y;
  },
  tolerance: "flash",
  values: { spans: "spans S" },
  sizes: {
    T: { small: [0, 1, 2, 5, 9], large: 37 },
    S: { small: [0, 1, 3, 8, 11], large: 70 },
    H: { small: [1, 2, 3, 4], large: 2 },
    G: { small: [1, 1, 2], large: 1 },
    K: { small: [0, 1, 3, 8], large: 20 },
  },
  cases: [{ scale: 0.3 }, { scale: -2 }],
});
