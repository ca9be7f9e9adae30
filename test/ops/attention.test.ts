/** @file The function attention: what its options make visible, by brute force in float64. */
import { describe, expect, it } from "vitest";
import { Parameter } from "../../lib/autograd/parameter.js";
import { attention, memory, mul, resetPeakMemory, sum, type Tensor, tensor, tidy, valueAndGrad } from "../../lib/index.js";
import { zeros } from "../../lib/tensor/create.js";
import { Random } from "./random.js";

const [batch, heads, kvHeads, size] = [2, 4, 2, 6];

function inputs(queries: number, keys: number): { q: Float64Array; k: Float64Array; v: Float64Array } {
  const random = new Random(`attention ${queries} ${keys}`);
  const draw = (count: number): Float64Array => Float64Array.from({ length: count }, () => Math.fround(random.normal()));
  return { q: draw(batch * queries * heads * size), k: draw(batch * keys * kvHeads * size), v: draw(batch * keys * kvHeads * size) };
}

/** Softmax attention where `sees(t, s)`. */
function expected(queries: number, keys: number, { q, k, v }: ReturnType<typeof inputs>, sees: (t: number, s: number) => boolean): Float64Array {
  const y = new Float64Array(q.length);
  for (let row = 0; row < batch * queries * heads; row++) {
    const [b, t, h] = [Math.floor(row / heads / queries), Math.floor(row / heads) % queries, row % heads];
    const at = (s: number): number => ((b * keys + s) * kvHeads + Math.floor((h * kvHeads) / heads)) * size;
    const visible = [...Array(keys).keys()].filter((s) => sees(t, s));
    const weights = visible.map((s) => {
      let dot = 0;
      for (let c = 0; c < size; c++) dot += (q[row * size + c] as number) * (k[at(s) + c] as number);
      return Math.exp(dot / Math.sqrt(size));
    });
    const total = weights.reduce((all, weight) => all + weight, 0);
    visible.forEach((s, i) => {
      for (let c = 0; c < size; c++) y[row * size + c] = (y[row * size + c] as number) + ((weights[i] as number) / total) * (v[at(s) + c] as number);
    });
  }
  return y;
}

async function found(
  queries: number,
  keys: number,
  { q, k, v }: ReturnType<typeof inputs>,
  options: Parameters<typeof attention>[3],
): Promise<Float32Array> {
  const y = tidy(() => {
    const f32 = (data: Float64Array, shape: readonly number[]): Tensor => tensor(data, shape, { dtype: "f32" });
    return attention(f32(q, [batch, queries, heads, size]), f32(k, [batch, keys, kvHeads, size]), f32(v, [batch, keys, kvHeads, size]), options);
  });
  const data = (await y.data()) as Float32Array;
  y.dispose();
  return data;
}

describe("attention lets a query see", () => {
  const cases: [string, number, number, Parameters<typeof attention>[3], (t: number, s: number) => boolean][] = [
    ["everything", 5, 7, {}, () => true],
    ["its past and itself", 9, 9, { causal: true }, (t, s) => s <= t],
    ["the past of a cache: queries are the last keys", 3, 9, { causal: true }, (t, s) => s <= 6 + t],
    ["a window of the past", 9, 9, { causal: true, window: 3 }, (t, s) => s <= t && s > t - 3],
    ["a window on both sides", 9, 9, { window: 3 }, (t, s) => Math.abs(s - t) < 3],
  ];
  it.each(cases)("%s", async (_, queries, keys, options, sees) => {
    const values = inputs(queries, keys);
    const wanted = expected(queries, keys, values, sees);
    const y = await found(queries, keys, values, options);
    // A dozen roundings of numbers below 4.
    y.forEach((value, i) => void expect(Math.abs(value - (wanted[i] as number))).toBeLessThanOrEqual(16 * 4 * 2 ** -24));
  });

  it("only what its options allow together", () => {
    const run = (options: Parameters<typeof attention>[3]) => () =>
      tidy(() => attention(zeros([1, 2, 2, 4]), zeros([1, 2, 2, 4]), zeros([1, 2, 2, 4]), options));
    expect(run({ window: 0 })).toThrow(expect.objectContaining({ code: "BAD_ARGUMENT" }));
    expect(run({ causal: true, spans: zeros([1, 2, 2], { dtype: "i32" }) })).toThrow(expect.objectContaining({ code: "BAD_ARGUMENT" }));
  });
});

describe("gradients over several blocks of queries and keys", () => {
  interface Case {
    readonly name: string;
    readonly batch: number;
    readonly heads: number;
    readonly kvHeads: number;
    readonly queries: number;
    readonly keys: number;
    readonly size: number;
    readonly options: Parameters<typeof attention>[3];
    readonly sees: (t: number, s: number) => boolean;
  }
  const cases: Case[] = [
    {
      ...{ name: "causal, two heads to one of keys", batch: 1, heads: 4, kvHeads: 2, queries: 290, keys: 290, size: 20 },
      ...{ options: { causal: true }, sees: (t, s) => s <= t },
    },
    {
      ...{ name: "a window, several rows", batch: 7, heads: 2, kvHeads: 2, queries: 131, keys: 131, size: 8 },
      ...{ options: { causal: true, window: 70 }, sees: (t, s) => s <= t && s > t - 70 },
    },
    {
      ...{ name: "everything, one head, more keys than queries", batch: 1, heads: 1, kvHeads: 1, queries: 101, keys: 203, size: 81 },
      ...{ options: {}, sees: () => true },
    },
  ];

  /** Sums of products and of their sizes, from which the bound of an f32 result follows. */
  class Sums {
    readonly value: Float64Array;
    readonly size: Float64Array;
    constructor(n: number) {
      [this.value, this.size] = [new Float64Array(n), new Float64Array(n)];
    }
    add(i: number, term: number, size: number): void {
      this.value[i] = (this.value[i] as number) + term;
      this.size[i] = (this.size[i] as number) + Math.abs(size);
    }
  }

  /** dq, dk and dv in float64, of sum(weight * y). */
  function expectedGradients(c: Case, q: Float64Array, k: Float64Array, v: Float64Array, dy: Float64Array): [Sums, Sums, Sums] {
    const sums: [Sums, Sums, Sums] = [new Sums(q.length), new Sums(k.length), new Sums(v.length)];
    const dot = (a: Float64Array, i: number, b: Float64Array, j: number): number => {
      let sum = 0;
      for (let x = 0; x < c.size; x++) sum += (a[i + x] as number) * (b[j + x] as number);
      return sum;
    };
    for (let row = 0; row < c.batch * c.queries * c.heads; row++) {
      const [b, t, h] = [Math.floor(row / c.heads / c.queries), Math.floor(row / c.heads) % c.queries, row % c.heads];
      const at = (s: number): number => ((b * c.keys + s) * c.kvHeads + Math.floor((h * c.kvHeads) / c.heads)) * c.size;
      const visible = [...Array(c.keys).keys()].filter((s) => c.sees(t, s));
      const scores = visible.map((s) => Math.exp(dot(q, row * c.size, k, at(s)) / Math.sqrt(c.size)));
      const total = scores.reduce((all, score) => all + score, 0);
      const slopes = visible.map((s) => dot(dy, row * c.size, v, at(s)));
      const delta = slopes.reduce((all, slope, i) => all + (slope * (scores[i] as number)) / total, 0);
      visible.forEach((s, i) => {
        const [weight, slope] = [(scores[i] as number) / total, slopes[i] as number];
        const [ds, size] = [weight * (slope - delta), weight * (Math.abs(slope) + Math.abs(delta))].map((x) => x / Math.sqrt(c.size)) as [
          number,
          number,
        ];
        for (let x = 0; x < c.size; x++) {
          const [qx, kx, dyx] = [q[row * c.size + x], k[at(s) + x], dy[row * c.size + x]] as [number, number, number];
          sums[0].add(row * c.size + x, ds * kx, size * kx);
          sums[1].add(at(s) + x, ds * qx, size * qx);
          sums[2].add(at(s) + x, weight * dyx, weight * dyx);
        }
      });
    }
    return sums;
  }

  it.each(cases)("$name", async (c) => {
    const random = new Random(c.name);
    const draw = (count: number): Float64Array => Float64Array.from({ length: count * c.size }, () => Math.fround(random.normal()));
    const [ofQueries, ofKeys] = [c.batch * c.queries * c.heads, c.batch * c.keys * c.kvHeads];
    const [q, k, v, dy] = [draw(ofQueries), draw(ofKeys), draw(ofKeys), draw(ofQueries)];
    const parameter = (data: Float64Array, tokens: number, heads: number): Parameter =>
      new Parameter(tensor(data, [c.batch, tokens, heads, c.size], { dtype: "f32" }));
    const parameters = [parameter(q, c.queries, c.heads), parameter(k, c.keys, c.kvHeads), parameter(v, c.keys, c.kvHeads)] as const;
    const weights = tensor(dy, [c.batch, c.queries, c.heads, c.size], { dtype: "f32" });
    const loss = valueAndGrad(() => sum(mul(attention(parameters[0].value, parameters[1].value, parameters[2].value, c.options), weights)));
    for (const [i, { value, size }] of expectedGradients(c, q, k, v, dy).entries()) {
      const found = (await parameters[i]?.grad?.data()) as Float32Array;
      // Products over the size of a head under an exponential (scores below 8 here), then a sum over what is seen.
      const bound = (4 * Math.sqrt(c.keys) + 8 * 4 * Math.sqrt(c.size)) * 2 ** -24;
      found.forEach((x, j) => void expect(Math.abs(x - (value[j] as number))).toBeLessThanOrEqual(bound * (size[j] as number) + 1e-30));
    }
    for (const one of [loss, weights, ...parameters]) one.dispose();
  });
});

describe("memory", () => {
  it("of attention at 8,192 tokens stays below four times its inputs, forward and backward", async () => {
    const shape = (count: number): readonly number[] => [1, 8192, count, 64];
    const [q, k, v] = [2, 1, 1].map((count) => new Parameter(zeros(shape(count)) as Tensor)) as [Parameter, Parameter, Parameter];
    const inputBytes = memory().cpu.bytes;
    resetPeakMemory();
    const loss = valueAndGrad(() => sum(attention(q.value, k.value, v.value, { causal: true })));
    expect(await loss.item()).toBe(0);
    expect(memory().cpu.peakBytes).toBeLessThan(4 * inputBytes);
    for (const one of [loss, q, k, v]) one.dispose();
  });
});
