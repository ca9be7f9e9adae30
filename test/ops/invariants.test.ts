/** @file What must hold whatever the numbers are: softmax, NaN, conversions of all 16-bit numbers, sizes above every block. */
import { describe, expect, it } from "vitest";
import { cast, crossEntropy, linear, matmul, softmax } from "../../lib/functions.js";
import { registry } from "../../lib/ops/index.js";
import type { Ref } from "../../lib/ops/reference.js";
import { tensor } from "../../lib/tensor/create.js";
import { tidy } from "../../lib/tensor/scope.js";
import type { Tensor } from "../../lib/tensor/tensor.js";
import { reductionBound, u } from "./bounds.js";
import { casesOf, describeCase } from "./cases.js";
import { roundTo, sameNumber, valueOf } from "./formats.js";
import { reference } from "./oracle.js";
import { Random } from "./random.js";
import { forwardOnEngine, paramsOf, testRecord } from "./run.js";
import { valuesOf } from "./values.js";

async function read(fn: () => Tensor): Promise<Float32Array> {
  const result = tidy(fn);
  try {
    return (await result.data()) as Float32Array;
  } finally {
    result.dispose();
  }
}

const normals = (random: Random, size: number, spread = 1): Float32Array => Float32Array.from({ length: size }, () => spread * random.normal());

describe("softmax", () => {
  const widths = [1, 3, 8, 17, 64, 1000, 5000];

  it.each(widths)("rows of %d sum to 1 within 4·u·√n", async (n) => {
    const y = await read(() => softmax(tensor(normals(new Random(n), 6 * n, 3), [6, n])));
    for (let r = 0; r < 6; r++) {
      const sum = y.subarray(r * n, (r + 1) * n).reduce((total, value) => total + value, 0);
      expect(Math.abs(sum - 1)).toBeLessThanOrEqual(4 * u * Math.sqrt(n));
    }
  });

  it.each(widths)("rows of %d do not change when a constant is added", async (n) => {
    // Multiples of 2^-10 below 8: adding 1024 is exact.
    const random = new Random(n);
    const x = Float32Array.from({ length: 2 * n }, () => random.below(2 ** 13) * 2 ** -10);
    const y = await read(() => softmax(tensor(x, [2, n])));
    const shifted = await read(() =>
      softmax(
        tensor(
          x.map((value) => value + 1024),
          [2, n],
        ),
      ),
    );
    expect(shifted).toEqual(y);
  });

  it("logits of ±1e4 give finite numbers, in crossEntropy too", async () => {
    const x = Float32Array.from({ length: 2 * 9 }, (_, i) => (i % 3 === 0 ? 1e4 : -1e4));
    expect([...(await read(() => softmax(tensor(x, [2, 9]))))].every(Number.isFinite)).toBe(true);
    const [loss] = await read(() => crossEntropy(tensor(x, [2, 9]), tensor(Int32Array.of(1, 0), [2])));
    // Row 0: 1e4 + log 3 − (−1e4); row 1: log 3.
    expect(Math.abs((loss as number) - (1e4 + Math.log(3)))).toBeLessThanOrEqual(4 * u * 1e4);
  });
});

describe("a NaN reaches exactly what depends on it", () => {
  const placements = 40;

  it.each(registry.map((op) => [op.name, op] as const))("%s", async (_, op) => {
    testRecord();
    const random = new Random(`NaN ${op.name}`);
    const usable = casesOf(op).filter(({ large, shapes }) => !large && Object.values(shapes).some((shape) => !shape.includes(0)));
    let ran = 0;
    for (let i = 0; ran < placements && i < 40 * placements; i++) {
      const one = random.pick(usable);
      const values = valuesOf(one);
      const name = random.pick(Object.keys(one.shapes));
      const target = values.inputs[name] as Float64Array;
      // Integers have no NaN, and quantising one is refused (quantize.test.ts).
      if (target.length === 0 || ["i32", "u8", "int8", "nf4"].includes(one.dtypes[name] as string)) continue;
      target[random.below(target.length)] = Number.NaN;
      const refs = Object.fromEntries(
        Object.entries(one.shapes).map(([input, shape]) => [input, { shape, data: values.inputs[input] as Float64Array } satisfies Ref]),
      );
      const expected = reference(op, refs, paramsOf(one));
      const { values: got, dtype } = await forwardOnEngine(one, values);
      const wrong = expected.data.findIndex((value, at) => dtype !== "i32" && Number.isNaN(value) !== Number.isNaN(got[at]));
      expect(wrong, `${describeCase(one)}: NaN in ${name}, element ${wrong} is ${got[wrong]}, expected ${expected.data[wrong]}`).toBe(-1);
      if (dtype === "i32") expect([...got], describeCase(one)).toEqual([...expected.data]);
      ran++;
    }
    expect(ran).toBe(placements);
  });
});

const bits = new DataView(new ArrayBuffer(4));
function neighbours(value: number): number[] {
  bits.setFloat32(0, value);
  const pattern = bits.getUint32(0);
  return [-1, 0, 1].map((step) => {
    bits.setUint32(0, (pattern + step) >>> 0);
    return bits.getFloat32(0);
  });
}

describe.each(["bf16", "f16"] as const)("%s", (dtype) => {
  const patterns = Uint16Array.from({ length: 65536 }, (_, i) => i);
  const all = [...patterns].map((pattern) => valueOf(dtype, pattern));

  it("widens all 65,536 patterns exactly", async () => {
    const y = await read(() => cast(tensor(patterns, [256, 256], { dtype }), "f32"));
    expect(all.findIndex((value, i) => !Object.is(value, y[i]))).toBe(-1);
  });

  it("narrows every number, every midpoint and the f32 next to them to the nearest, ties to even", async () => {
    const finite = [...new Set(all.filter(Number.isFinite))].sort((a, b) => a - b);
    const midpoints = finite.slice(1).map((value, i) => (value + (finite[i] as number)) / 2);
    const edge = (finite[finite.length - 1] as number) * (1 + 2 ** -12);
    const x = Float32Array.from(
      [...finite, ...midpoints, edge, -edge, 3e38, -3e38, Infinity, -Infinity, NaN].flatMap((value) => (value === 0 ? [0, -0] : neighbours(value))),
    );
    const y = await read(() => cast(tensor(x, [x.length]), dtype));
    const wrong = x.findIndex((value, i) => {
      // What is below the smallest normal f32 may be flushed to 0.
      if (Math.abs(value) < 2 ** -126 && valueOf(dtype, y[i] as number) === 0) return false;
      return !sameNumber(valueOf(dtype, y[i] as number), roundTo(dtype, value));
    });
    expect(wrong, `${x[wrong]} became ${valueOf(dtype, y[wrong] as number)}, expected ${roundTo(dtype, x[wrong] as number)}`).toBe(-1);
  });
});

describe("sizes above every block of the kernels", () => {
  /** Compares 4,000 elements and the borders of c = a·bᵀ with float64. */
  function compare(c: Float32Array, a: Float32Array, b: Float32Array, m: number, n: number, k: number): void {
    const random = new Random(m * n + k);
    const places = Array.from({ length: 4000 }, (_, i) => [i % 3 === 0 ? m - 1 : random.below(m), i % 5 === 0 ? n - 1 : random.below(n)] as const);
    for (const [i, j] of places) {
      let sum = 0;
      let size = 0;
      for (let l = 0; l < k; l++) {
        const term = (a[i * k + l] as number) * (b[j * k + l] as number);
        sum += term;
        size += Math.abs(term);
      }
      const error = Math.abs((c[i * n + j] as number) - sum);
      expect(error <= reductionBound(Math.sqrt(k), size, sum), `element (${i}, ${j}) is off by ${error}`).toBe(true);
    }
  }

  it.each([
    [2055, 4101, 5],
    [13, 4101, 521],
    [301, 67, 1033],
    [2055, 7, 1031],
    [1, 4101, 1031],
    [2, 515, 2055],
  ])("linear and matmul of %d × %d × %d", async (m, n, k) => {
    const random = new Random(m + n + k);
    const [a, b] = [normals(random, m * k), normals(random, n * k)];
    compare(await read(() => linear(tensor(a, [m, k]), tensor(b, [n, k]))), a, b, m, n, k);
    const transposed = Float32Array.from({ length: k * n }, (_, i) => b[(i % n) * k + Math.floor(i / n)] as number);
    compare(await read(() => matmul(tensor(a, [m, k]), tensor(transposed, [k, n]))), a, b, m, n, k);
  });
});
