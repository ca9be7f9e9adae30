/** @file Outputs that no cache holds: kernels write them past the caches, rows that begin at whole cache lines and others. */
import { beforeAll, describe, expect, it } from "vitest";
import { Parameter } from "../../lib/autograd/parameter.js";
import { valueAndGrad } from "../../lib/autograd/value-and-grad.js";
import { add, mul, rmsNorm, scale, sum, swiglu } from "../../lib/functions.js";
import { tensor } from "../../lib/tensor/create.js";
import { tidy } from "../../lib/tensor/scope.js";
import type { Tensor } from "../../lib/tensor/tensor.js";
import { reductionBound, ulpBound } from "./bounds.js";
import { Random } from "./random.js";

/** More than 32 MB of f32. 1,040 columns are whole cache lines, 1,037 are not; 8,201 × 1,037 is no multiple of any vector. */
const rows = 8201;
const widths = [1040, 1037];
const eps = 1e-5;

function numbers(seed: number, size: number): Float32Array<ArrayBuffer> {
  const random = new Random(seed);
  return Float32Array.from({ length: size }, () => 4 * random.unit() - 2);
}

async function read(y: Tensor): Promise<Float32Array> {
  try {
    return (await y.data()) as Float32Array;
  } finally {
    y.dispose();
  }
}

/** The first element that is not within its bound, for one message instead of millions of checks. */
function firstWrong(found: Float32Array, expected: (i: number) => number, bound: (i: number, value: number) => number): string {
  for (let i = 0; i < found.length; i++) {
    const value = expected(i);
    if (!(Math.abs((found[i] as number) - value) <= bound(i, value))) return `element ${i}: ${found[i]}, not ${value}`;
  }
  return "";
}
const exactly = (): number => 0;

describe.each(widths)(`${rows} rows of %d`, (cols) => {
  let [a, b] = [new Float32Array(), new Float32Array()];
  beforeAll(() => {
    [a, b] = [numbers(1, rows * cols), numbers(2, rows * cols)];
  });
  const w = numbers(3, cols);
  const at = (list: Float32Array, i: number): number => list[i] as number;
  const silu = (x: number): number => x / (1 + Math.exp(-x));

  it("sums, products and SwiGLU", async () => {
    const [ta, tb, tw] = [tensor(a, [rows, cols]), tensor(b, [rows, cols]), tensor(w, [cols])];
    const sums = await read(add(ta, tb));
    expect(firstWrong(sums, (i) => Math.fround(at(a, i) + at(b, i)), exactly)).toBe("");
    const products = await read(mul(ta, tw));
    expect(firstWrong(products, (i) => Math.fround(at(a, i) * at(w, i % cols)), exactly)).toBe("");
    const [factor, one] = [1.7, tensor([-0.3], [])];
    const scaled = await read(scale(ta, factor));
    expect(firstWrong(scaled, (i) => Math.fround(at(a, i) * Math.fround(factor)), exactly)).toBe("");
    const byOne = await read(mul(ta, one));
    expect(firstWrong(byOne, (i) => Math.fround(at(a, i) * Math.fround(-0.3)), exactly)).toBe("");
    const gated = await read(swiglu(ta, tb));
    expect(
      firstWrong(
        gated,
        (i) => silu(at(a, i)) * at(b, i),
        (_, value) => ulpBound(value),
      ),
    ).toBe("");
    for (const t of [ta, tb, tw, one]) t.dispose();
  });

  it("rmsNorm and its gradient", async () => {
    const x = new Parameter(tensor(a, [rows, cols]));
    const [tw, dy] = [tensor(w, [cols]), tensor(b, [rows, cols])];
    const inverse = new Float64Array(rows);
    const shift = new Float64Array(rows);
    const inner = new Float64Array(rows);
    for (let r = 0; r < rows; r++) {
      let [squares, dot, absolute] = [0, 0, 0];
      for (let i = r * cols; i < (r + 1) * cols; i++) {
        squares += at(a, i) ** 2;
        const term = at(b, i) * at(w, i - r * cols) * at(a, i);
        dot += term;
        absolute += Math.abs(term);
      }
      inverse[r] = 1 / Math.sqrt(squares / cols + eps);
      shift[r] = (dot * (inverse[r] as number) ** 2) / cols;
      inner[r] = (absolute * (inverse[r] as number) ** 2) / cols;
    }
    const row = (list: Float64Array, i: number): number => list[Math.floor(i / cols)] as number;
    const y = await read(tidy(() => rmsNorm(x.value, tw, { eps })));
    expect(
      firstWrong(
        y,
        (i) => at(a, i) * row(inverse, i) * at(w, i % cols),
        (_, value) => ulpBound(value),
      ),
    ).toBe("");
    valueAndGrad(() => sum(mul(rmsNorm(x.value, tw, { eps }), dy))).dispose();
    const dx = (await x.grad?.data()) as Float32Array;
    const term = (i: number): number => at(b, i) * at(w, i % cols);
    expect(
      firstWrong(
        dx,
        (i) => row(inverse, i) * (term(i) - at(a, i) * row(shift, i)),
        (i, value) => reductionBound(Math.sqrt(cols), row(inverse, i) * (Math.abs(term(i)) + Math.abs(at(a, i)) * row(inner, i)), value),
      ),
    ).toBe("");
    for (const t of [x, tw, dy]) t.dispose();
  });
});
