/** @file The float64 oracle: small dense arrays and the few operations that the references of ops are written with. Slow and obvious. */

/** A float64 array with a shape, row-major. */
export interface Ref {
  readonly shape: readonly number[];
  readonly data: Float64Array;
}

const count = (shape: readonly number[]): number => shape.reduce((product, size) => product * size, 1);

/** An array whose element at flat index i is `value(i)`. */
export function fromIndex(shape: readonly number[], value: (i: number) => number): Ref {
  const data = new Float64Array(count(shape));
  for (let i = 0; i < data.length; i++) data[i] = value(i);
  return { shape, data };
}

export const at = (x: Ref, i: number): number => x.data[i] as number;

export const map = (x: Ref, fn: (value: number, i: number) => number): Ref => fromIndex(x.shape, (i) => fn(at(x, i), i));

/** Last size; 1 for []. */
export const lastSize = (x: Ref): number => (x.shape.length === 0 ? 1 : (x.shape[x.shape.length - 1] as number));

/** `fn` of each element of a and the element of b that is broadcast to it: same shape, trailing vector, or one element. */
export function zip(a: Ref, b: Ref, fn: (a: number, b: number) => number): Ref {
  const same = a.shape.length === b.shape.length;
  return map(a, (value, i) => fn(value, at(b, same ? i : b.shape.length === 0 ? 0 : i % lastSize(b))));
}

/** Applies `fn` to each row (the last axis). */
export function mapRows(x: Ref, shape: readonly number[], fn: (row: Float64Array, r: number) => ArrayLike<number>): Ref {
  const cols = lastSize(x);
  const width = x.shape.length === shape.length ? cols : 1;
  const data = new Float64Array(count(shape));
  for (let r = 0; r * width < data.length; r++) data.set(fn(x.data.subarray(r * cols, (r + 1) * cols), r), r * width);
  return { shape, data };
}

/** A stack of matrices: where element (i, j) of one of them lies, i·row + j·column behind its start. */
export interface Matrices {
  readonly data: Float64Array;
  readonly matrix: number;
  readonly row: number;
  readonly column: number;
}

/** c[..., M, N] = a[..., M, K] · b[..., K, N], matrix by matrix. */
export function product(shape: readonly number[], batches: number, [m, n, k]: readonly [number, number, number], a: Matrices, b: Matrices): Ref {
  const data = new Float64Array(count(shape));
  let at = 0;
  for (let batch = 0; batch < batches; batch++) {
    for (let i = 0; i < m; i++) {
      for (let j = 0; j < n; j++) {
        const [left, right] = [batch * a.matrix + i * a.row, batch * b.matrix + j * b.column];
        let sum = 0;
        for (let l = 0; l < k; l++) sum += (a.data[left + l * a.column] as number) * (b.data[right + l * b.row] as number);
        data[at++] = sum;
      }
    }
  }
  return { shape, data };
}

/** The error function to about 1e-16 (Abramowitz and Stegun 7.1.6). */
export const erf = (x: number): number => (Math.abs(x) < 2.5 ? erfSeries(x) : Math.sign(x) * (1 - erfcTail(Math.abs(x))));

/** 1 − erf(x), with small relative error on the right too, where erf is near 1. */
export const erfc = (x: number): number => (x < 2.5 ? 1 - erf(x) : erfcTail(x));

function erfSeries(x: number): number {
  let term = x;
  let sum = x;
  for (let n = 1; n < 120; n++) {
    term *= (2 * x * x) / (2 * n + 1);
    sum += term;
  }
  return (2 / Math.sqrt(Math.PI)) * Math.exp(-x * x) * sum;
}

/** The continued fraction of 1 − erf (Abramowitz and Stegun 7.1.14), for x from 2.5. */
function erfcTail(x: number): number {
  let fraction = 0;
  for (let n = 120; n > 0; n--) fraction = n / 2 / (x + fraction);
  return Math.exp(-x * x) / Math.sqrt(Math.PI) / (x + fraction);
}

/** Philox4x32-10 (native/core/rng.h): four 32-bit words for a counter and a key below 2^53. */
export function philox(counter: readonly [number, number, number, number], key: number): [number, number, number, number] {
  let [c0, c1, c2, c3] = counter;
  let k0 = (key % 2 ** 32) >>> 0;
  let k1 = Math.floor(key / 2 ** 32) >>> 0;
  for (let round = 0; round < 10; round++) {
    const p0 = BigInt(c0 >>> 0) * 0xd2511f53n;
    const p1 = BigInt(c2 >>> 0) * 0xcd9e8d57n;
    [c0, c1, c2, c3] = [Number(p1 >> 32n) ^ c1 ^ k0, Number(p1 & 0xffffffffn), Number(p0 >> 32n) ^ c3 ^ k1, Number(p0 & 0xffffffffn)];
    k0 = (k0 + 0x9e3779b9) >>> 0;
    k1 = (k1 + 0xbb67ae85) >>> 0;
  }
  return [c0 >>> 0, c1 >>> 0, c2 >>> 0, c3 >>> 0];
}

/** Whether dropout keeps element `e` (the rule of native/core/rng.h). */
export function dropoutKeeps(e: number, p: number, { seed, step, micro }: { seed: number; step: number; micro: number }, site: number): boolean {
  const word = philox([Math.floor(e / 4), micro, step, site], seed)[e % 4] as number;
  return Math.fround((word >>> 8) * 2 ** -24) >= Math.fround(p);
}
