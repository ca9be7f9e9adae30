/** @file The function attention: what its options make visible, by brute force in float64. */
import { describe, expect, it } from "vitest";
import { Parameter } from "../../lib/autograd/parameter.js";
import { attention, memory, resetPeakMemory, sum, type Tensor, tensor, tidy, valueAndGrad } from "../../lib/index.js";
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
