/** @file Outputs that cost little are computed again in the backward walk instead of kept: less memory, the same gradients. */
import { afterEach, describe, expect, it } from "vitest";
import { add, linear, memory, mul, Parameter, rmsNorm, silu, sum, swiglu, type Tensor, tensor, tidy, valueAndGrad } from "../lib/index.js";
import { Random } from "./ops/random.js";

const before = memory().cpu;
afterEach(() => {
  const { tensors, bytes } = memory().cpu;
  expect({ tensors, bytes }).toEqual({ tensors: before.tensors, bytes: before.bytes });
});

const [rows, size] = [64, 256];
const random = new Random("remake");
const numbers = (...shape: number[]): Tensor =>
  tensor(
    Float32Array.from({ length: shape.reduce((product, one) => product * one, 1) }, () => random.normal()),
    shape,
  ) as Tensor;

/** The gradients, and the bytes that were held between the forward pass and the walk back. */
async function gradients(parameters: readonly Parameter[], fn: () => Tensor): Promise<{ held: number; grads: Float32Array[] }> {
  const start = memory().cpu.bytes;
  let held = 0;
  const loss = valueAndGrad(() => {
    const y = tidy(fn);
    held = memory().cpu.bytes - start;
    return sum(y as never) as Tensor;
  });
  const grads: Float32Array[] = [];
  for (const { grad } of parameters) grads.push((await (grad as Tensor).data()) as Float32Array);
  loss.dispose();
  for (const parameter of parameters) parameter.clearGradient();
  return { held, grads };
}

/** Two orders of f32 products: a few roundings. */
function expectClose(actual: Float32Array, expected: Float32Array): void {
  const largest = expected.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
  expect(actual.every((value, i) => Math.abs(value - (expected[i] as number)) <= 8 * 2 ** -24 * largest)).toBe(true);
}

describe("a cheap output", () => {
  it("of swiglu is not kept for the product that follows", async () => {
    const [gate, up] = [new Parameter(numbers(rows, size)), new Parameter(numbers(rows, size))];
    const weights = [new Parameter(numbers(8, size)), new Parameter(numbers(8, size))];
    const all = [gate, up, ...weights];
    const product = (h: Tensor): Tensor => {
      const [a, b] = weights.map((w) => linear(h as never, w.value as never) as Tensor) as [Tensor, Tensor];
      return add(a as never, b as never) as Tensor;
    };
    const remade = await gradients(all, () => product(swiglu(gate.value as never, up.value as never) as Tensor));
    expect(remade.held).toBe(4 * rows * 8);
    const kept = await gradients(all, () => product(mul(silu(gate.value as never) as never, up.value as never) as Tensor));
    expect(kept.held).toBeGreaterThan(4 * rows * size);
    remade.grads.forEach((grad, i) => {
      expectClose(grad, kept.grads[i] as Float32Array);
    });
    for (const parameter of all) parameter.dispose();
  });

  it("of rmsNorm leaves one number a row", async () => {
    const [x, gain, w] = [new Parameter(numbers(rows, size)), new Parameter(numbers(size)), new Parameter(numbers(8, size))];
    const run = () => gradients([x, gain, w], () => linear(rmsNorm(x.value as never, gain.value as never) as never, w.value as never) as Tensor);
    const { held, grads } = await run();
    expect(held).toBe(4 * rows * 8 + 4 * rows);
    expect((await run()).grads).toEqual(grads);
    // dw = Σ rows of y, in float64.
    const [xs, gains] = (await Promise.all([x.value.data(), gain.value.data()])) as [Float32Array, Float32Array];
    const expected = new Float64Array(size);
    for (let r = 0; r < rows; r++) {
      const row = xs.subarray(r * size, (r + 1) * size);
      const rstd = 1 / Math.sqrt(row.reduce((total, value) => total + value * value, 0) / size + 1e-6);
      row.forEach((value, i) => {
        expected[i] = (expected[i] as number) + value * rstd * (gains[i] as number);
      });
    }
    for (const [i, value] of (grads[2] as Float32Array).entries()) expect(Math.abs(value - (expected[i % size] as number))).toBeLessThan(1e-4);
    for (const parameter of [x, gain, w]) parameter.dispose();
  });

  it("is kept where nothing before it is trained", async () => {
    const [gate, up] = [numbers(rows, size), numbers(rows, size)];
    const w = new Parameter(numbers(8, size));
    const { held } = await gradients([w], () => linear(swiglu(gate as never, up as never) as never, w.value as never) as Tensor);
    expect(held).toBe(4 * rows * 8 + 4 * rows * size);
    for (const one of [gate, up, w]) one.dispose();
  });
});
