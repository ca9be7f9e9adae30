/** @file Rows of `lowrank bench`: attention, the loss from hidden states, and ops that memory limits. */
import { attentionOp, castOp, geluOp, rmsNormOp, ropeOp, swigluOp } from "../ops/index.js";
import type { AnyOp } from "../ops/op.js";
import { tensor } from "../tensor/create.js";
import { ignoredLabel } from "../tensor/labels.js";
import { attentionSpans } from "../tensor/spans.js";
import { empty, type Tensor } from "../tensor/tensor.js";
import { answer, at, dot, type Matrix, matrix, once, product, products, read, rowsOf, sampled, sumBound } from "./bench-exact.js";
import { opRow, type Row, random } from "./bench-row.js";

/** Sums of products of exponentials: twice a sum's, for the rounding of what is in the exponent. */
const flashBound = (terms: number, size: number): number => sumBound(4 * terms, size);

const [heads, kvHeads, width] = [9, 3, 64];
const [group, factor] = [heads / kvHeads, Math.fround(1 / Math.sqrt(width))];
const pairs = (tokens: number): number => (heads * tokens * (tokens + 1)) / 2;
const causal = (tokens: number): Tensor => tensor(attentionSpans(1, tokens, tokens, { causal: true }), [tokens, 2]);
const queries = (tokens: number): Tensor => random([tokens, heads, width]);
const keys = (tokens: number): Tensor => random([tokens, kvHeads, width]);

/** Causal, over one row of tokens. */
const attention = (tokens: number): Row =>
  opRow({
    ...{ key: `attention forward T${tokens}`, limit: "peak", work: 4 * width * pairs(tokens) },
    ...{ op: attentionOp, params: { factor }, byRow: ["q", "spans"], bound: flashBound(tokens, 1) },
    inputs: () => ({ q: queries(tokens), k: keys(tokens), v: keys(tokens), spans: causal(tokens) }),
  });

/**
 * In float64, at the tokens `picks`: dq of the last head, from the inputs alone; dk and dv of the head of keys that it reads, as of the y and
 * lse that the kernel is given too.
 */
function attentionGradients(picks: readonly number[], [q, k, v, dy, y, lse]: readonly [Matrix, Matrix, Matrix, Matrix, Matrix, Matrix]) {
  const [dq, dk, dv] = [0, 0, 0].map(() => matrix(picks.length, width, () => 0)) as [Matrix, Matrix, Matrix];
  const [last, key] = [(heads - 1) * width, (kvHeads - 1) * width];
  const add = (sum: Matrix, r: number, weight: number, x: Matrix, row: number, from: number): void => {
    for (let c = 0; c < width; c++) sum.values[r * width + c] = at(sum, r, c) + weight * at(x, row, from + c);
  };
  const score = (t: number, query: number, s: number): number => factor * dot(q.values, t * q.cols + query, k.values, s * k.cols + key, width);
  const slope = (t: number, query: number, s: number): number => dot(dy.values, t * q.cols + query, v.values, s * k.cols + key, width);
  picks.forEach((t, r) => {
    const powers = new Float64Array(t + 1).map((_, s) => Math.exp(score(t, last, s)));
    const total = powers.reduce((sum, power) => sum + power, 0);
    const delta = powers.reduce((sum, power, s) => sum + (power / total) * slope(t, last, s), 0);
    powers.forEach((power, s) => add(dq, r, factor * (power / total) * (slope(t, last, s) - delta), k, s, key));
  });
  for (let t = 0; t < q.rows; t++) {
    for (let head = heads - group; head < heads; head++) {
      const query = head * width;
      const delta = dot(dy.values, t * q.cols + query, y.values, t * q.cols + query, width);
      picks.forEach((s, r) => {
        if (s > t) return;
        const weight = Math.exp(score(t, query, s) - (lse.values[t * heads + head] as number));
        add(dk, r, factor * weight * (slope(t, query, s) - delta), q, t, query);
        add(dv, r, weight, dy, t, query);
      });
    }
  }
  return { dq, dk, dv };
}

type Five = [Tensor, Tensor, Tensor, Tensor, Tensor];

const attentionBackward = (tokens: number): Row => ({
  ...{ key: `attention backward T${tokens}`, limit: "peak", work: 10 * width * pairs(tokens) },
  prepare: (kernels) => {
    const [q, k, v, dy, spans] = [queries(tokens), keys(tokens), keys(tokens), queries(tokens), causal(tokens)];
    const [y, dq, dk, dv, lse] = [q.shape, q.shape, k.shape, v.shape, [tokens * heads, 1]].map((shape) => empty(shape, "f32")) as Five;
    kernels.attention_forward(y, lse, q, k, v, spans, 1, heads, kvHeads, factor);
    const exact = once(async () => attentionGradients(sampled(tokens), await Promise.all([read(q), read(k), read(v), read(dy), read(y), read(lse)])));
    // The weights of a query sum to 1, those of a key to about the logarithm of the queries; a slope is the difference of two sums of products.
    const [slope, weights, terms] = [(2 * factor * Math.sqrt(width)) / 3, 2 * group * (1 + Math.log(tokens)), tokens * group];
    return {
      run: () => kernels.attention_backward(dq, dk, dv, dy, q, k, v, y, lse, spans, 1, heads, kvHeads, factor),
      answers: [
        answer("dq", dq, flashBound(tokens, slope), async () => (await exact()).dq),
        answer("dk", dk, flashBound(terms, weights * slope), async () => (await exact()).dk),
        answer("dv", dv, flashBound(terms, weights), async () => (await exact()).dv),
      ],
      held: [q, k, v, dy, y, lse, spans],
    };
  },
});

function indexes(shape: readonly [number, ...number[]], of: (row: number) => number): Tensor {
  return tensor(Int32Array.from(Array(shape[0]).keys(), of), shape);
}

/** The loss of hidden states over a vocabulary, and dx. Eight rows are repeated, so that float64 knows the whole loss. */
const loss = (rows: number, inputs: number, words: number): Row => ({
  ...{ key: `linearCrossEntropy ${rows}x${inputs}x${words}`, limit: "peak", work: 4 * rows * inputs * words },
  prepare: (kernels) => {
    const eight = [0, 1, 2, 3, 4, 5, 6, 7];
    const label = (row: number): number => ((row % 8) * 4999) % words;
    // Small enough for logits of a size that models have.
    const state = (_: unknown, e: number): number => 0.2 * Math.sin((e % (8 * inputs)) ** 2);
    const x = tensor(Float32Array.from({ length: rows * inputs }, state), [rows, inputs]);
    const labels = indexes([rows, 1], label);
    const [w, y, count, dx] = [random([words, inputs]), empty([1, 1], "f32"), empty([1, 1], "f32"), empty([rows, inputs], "f32")];
    const softmax = once(async () => {
      const logits = await products("NT", x, w)(eight);
      const powers = { ...logits, values: logits.values.map(Math.exp) };
      const ones = matrix(1, words, () => 1);
      const totals = product(powers, ones, true);
      return matrix(8, words, (row, word) => at(powers, row, word) / at(totals, row, 0));
    });
    const ofLoss = async (): Promise<Matrix> => {
      const found = await softmax();
      return matrix(1, 1, () => eight.reduce((sum, row) => sum - Math.log(at(found, row, label(row))) / 8, 0));
    };
    const ofStates = async (picks: readonly number[]): Promise<Matrix> => {
      const eighth = picks.map((row) => row % 8);
      const found = rowsOf(await softmax(), eighth);
      const slope = (r: number, word: number): number => (at(found, r, word) - (word === label(picks[r] as number) ? 1 : 0)) / rows;
      return product(matrix(picks.length, words, slope), await read(w));
    };
    return {
      run: () => kernels.linear_cross_entropy(y, count, dx, undefined, x, w, labels, ignoredLabel, true),
      answers: [answer("loss", y, sumBound(inputs, 16), ofLoss), answer("dx", dx, flashBound(words, 2 / rows), ofStates)],
      held: [x, w, labels, count],
    };
  },
});

const [rows, cols, positions] = [8192, 1536, 2048];
const one = (): Tensor => random([rows, cols]);

/** An op that memory limits: bytes for each of rows × cols elements; units of 2⁻²⁴ that its answer may be off. */
const memoryRow = (op: AnyOp, bytes: number, units: number, byRow: readonly string[], inputs: () => Record<string, Tensor>, params = {}): Row =>
  opRow({ ...{ key: `${op.name} ${rows}x${cols}`, limit: "copy", work: bytes * rows * cols }, op, inputs, byRow, params, bound: units * 2 ** -24 });

const turned = () => ({
  x: random([rows, cols / width, width]),
  table: random([positions, width]),
  positions: indexes([rows], (row) => (row * 7) % positions),
});

/** Rows of one list take turns. */
export const transformerRows: readonly (readonly Row[])[] = [
  ...[512, 2048].map((tokens) => [attention(tokens), attentionBackward(tokens)]),
  [loss(1024, 576, 49152)],
  [memoryRow(rmsNormOp, 8, 32, ["x"], () => ({ x: one(), w: random([cols]) }))],
  [memoryRow(ropeOp, 8, 8, ["x", "positions"], turned)],
  [memoryRow(swigluOp, 12, 16, ["gate", "up"], () => ({ gate: one(), up: one() }))],
  [memoryRow(geluOp, 8, 16, ["x"], () => ({ x: one() }))],
  [memoryRow(castOp, 6, 2 ** 15, ["x"], () => ({ x: one() }), { dtype: "bf16" })],
];
