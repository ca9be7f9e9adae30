/** @file Rows of `lowrank bench`: the limits of the machine, matrix products, decoding, and the fused LoRA layer. */
import { linearOp, loraLinearOp } from "../ops/index.js";
import { storageBytes, type WeightDType } from "../tensor/dtype.js";
import { empty } from "../tensor/tensor.js";
import { answer, at, columnsOf, matrix, plus, product, products, read, readRows, sumBound } from "./bench-exact.js";
import { type Limit, opRow, type Row, random } from "./bench-row.js";

const large = [2 ** 15, 2 ** 10] as const; // more floats than the caches hold
const [size, chains, steps] = [2 ** 25, 2 ** 19, 2 ** 11];

const peak: Row = {
  ...{ key: "peak", limit: "peak", work: 2 * chains * steps },
  prepare: (k) => {
    const [x, y, factor, summand] = [random([1, chains]), empty([1, chains], "f32"), Math.fround(0.999), Math.fround(0.001)];
    const fixed = summand / (1 - factor);
    const exact = async () => {
      const from = await read(x);
      return matrix(1, chains, (_, c) => fixed + factor ** steps * (at(from, 0, c) - fixed));
    };
    // What each step is off by shrinks with every later one.
    const answers = [answer("y", y, (2 * 2 ** -24) / (1 - factor), exact)];
    return { run: () => k.multiply_add(y, x, factor, summand, steps), answers, held: [x] };
  },
};

const copy: Row = {
  ...{ key: "copy", limit: "copy", work: 8 * size },
  prepare: (k) => {
    const [x, y] = [random(large), empty(large, "f32")];
    return { run: () => k.copy(y, x), answers: [answer("y", y, 0, (rows) => readRows(x, rows))], held: [x] };
  },
};

const scan: Row = {
  ...{ key: "read", limit: "read", work: 4 * size },
  prepare: (k) => {
    const [x, y] = [random(large), empty([1, 1], "f32")];
    const exact = async () => {
      let sum = 0;
      for (const value of (await read(x)).values) sum += value;
      return matrix(1, 1, () => sum);
    };
    return { run: () => k.sum_all(y, x, 1), answers: [answer("y", y, sumBound(64, size / 2), exact)], held: [x] };
  },
};

/** Measured in every round, beside the rows. */
export const limits: Readonly<Record<Limit, Row>> = { peak, read: scan, copy };

type Shape = readonly [t: number, o: number, i: number];

/** y[t, o] = x[t, i] · w[o, i]ᵀ; that of one token is limited by reading the weight. */
const forward = (dtype: WeightDType, [t, o, i]: Shape): Row =>
  opRow({
    key: `${t === 1 ? "decode" : "linear forward"} ${dtype} ${t}x${o}x${i}`,
    ...(t === 1 ? { limit: "read", work: storageBytes([o, i], dtype) } : { limit: "peak", work: 2 * t * o * i }),
    ...{ op: linearOp, inputs: () => ({ x: random([t, i]), w: random([o, i], dtype) }), byRow: ["x"], bound: sumBound(i) },
  });

const backward = (form: "dx" | "dw", dtype: WeightDType, [t, o, i]: Shape): Row => ({
  ...{ key: `linear ${form} ${dtype} ${t}x${o}x${i}`, limit: "peak", work: 2 * t * o * i },
  prepare: (k) => {
    const [x, w, dy] = [random([t, i]), random([o, i], dtype), random([t, o])];
    const gradient = empty(form === "dx" ? [t, i] : [o, i], "f32");
    const [dx, dw] = form === "dx" ? [gradient] : [undefined, gradient];
    const exact = form === "dx" ? products("NN", dy, w) : products("TN", dy, x);
    const answers = [answer(form, gradient, sumBound(form === "dx" ? o : t), exact)];
    return { run: () => k.linear_backward(dx, dw, undefined, dy, x, w), answers, held: [x, w, dy] };
  },
});

const rank = 16;

const loraForward = (shape: Shape, [t, o, i] = shape): Row =>
  opRow({
    ...{ key: `lora forward r${rank} ${t}x${o}x${i}`, limit: "peak", work: 2 * t * (o * i + rank * (o + i)), plain: forward("f32", shape) },
    ...{ op: loraLinearOp, byRow: ["x"], bound: sumBound(i + rank, (i + rank * Math.sqrt(i)) / 3) },
    inputs: () => ({ x: random([t, i]), w: random([o, i]), a: random([rank, i]), b: random([o, rank]) }),
  });

/** dh = dy·b; dx = dy·w + dh·a; da = dhᵀ·x; db = dyᵀ·h: beside dx of the plain layer. */
const loraBackward = (shape: Shape, [t, o, i] = shape): Row => ({
  ...{ key: `lora backward r${rank} ${t}x${o}x${i}`, limit: "peak", work: 2 * t * (o * i + 2 * rank * (o + i)), plain: backward("dx", "f32", shape) },
  prepare: (k) => {
    const [x, w, a, b, h, dy] = [random([t, i]), random([o, i]), random([rank, i]), random([o, rank]), random([t, rank]), random([t, o])];
    const [dx, da, db] = [empty([t, i], "f32"), empty([rank, i], "f32"), empty([o, rank], "f32")];
    return {
      run: () => k.lora_backward(dx, da, undefined, db, undefined, dy, x, w, a, undefined, b, h, undefined, 1, 0, 0),
      answers: [
        answer("dx", dx, sumBound(o + rank, (o + rank * Math.sqrt(o)) / 3), async (rows) =>
          plus(await products("NN", dy, w)(rows), product(await products("NN", dy, b)(rows), await read(a))),
        ),
        answer("da", da, sumBound(t + o, (t * Math.sqrt(o)) / 3), async (rows) =>
          product(columnsOf(product(await read(dy), await read(b)), rows), await read(x)),
        ),
        answer("db", db, sumBound(t), products("TN", dy, h)),
      ],
      held: [x, w, a, b, h, dy],
    };
  },
});

const middle: Shape = [1024, 1024, 1024];
const small: Shape = [512, 576, 1536];
const shapes: readonly Shape[] = [[2048, 2048, 2048], middle, [512, 576, 576], small, [512, 1536, 576], [512, 2048, 8192]];
const both = (dtype: WeightDType, shape: Shape): Row[] => [forward(dtype, shape), backward("dx", dtype, shape)];

/** Rows of one list take turns. */
export const productRows: readonly (readonly Row[])[] = [
  ...shapes.map((shape) => [...both("f32", shape), backward("dw", "f32", shape), ...both("bf16", shape)]),
  [...both("int8", middle), ...both("nf4", middle)],
  ...(["bf16", "int8", "nf4"] as const).map((dtype) => [forward(dtype, [1, 8192, 4096])]),
  ...[small, middle].map((shape) => [loraForward(shape), loraBackward(shape)]),
];
