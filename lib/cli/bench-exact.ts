/** @file Float64 beside the answers of kernels. */
import { cast, slice } from "../functions.js";
import type { Tensor } from "../tensor/tensor.js";

export interface Matrix {
  readonly rows: number;
  readonly cols: number;
  readonly values: Float32Array | Float64Array;
}

/** Some rows of a matrix in float64. */
type Rows = (rows: readonly number[]) => Promise<Matrix>;

/** What a kernel answers, and which of its rows (or so many last columns of them as are expected) may be `bound` away from float64 at most. */
export interface Answer {
  readonly name: string;
  readonly tensor: Tensor;
  readonly bound: number;
  readonly expected: Rows;
  readonly rows: readonly number[];
}

export const answer = (name: string, tensor: Tensor, bound: number, expected: Rows, rows = sampled(tensor.shape[0] ?? 1)): Answer => ({
  ...{ name, tensor, bound, expected, rows },
});

/** Rows that stand for all: the first, the last, and some between. */
export const sampled = (rows: number): number[] =>
  Array.from({ length: Math.min(rows, 7) }, (_, i) => (rows <= 7 ? i : Math.floor((i * (rows - 1)) / 6)));

/**
 * Rounding errors of a sum of K terms in f32 add up like a random walk: 4 √K 2⁻²⁴ of `size`, the sum of the absolute values of the terms, and one
 * rounding. K products of uniform numbers of [−1, 1): about K / 3 at most, by Cauchy's inequality; their sum is only of the order of √K / 3.
 */
export const sumBound = (terms: number, size = terms / 3): number => (4 * Math.sqrt(terms) + 1) * 2 ** -24 * size;

export const at = ({ cols, values }: Matrix, row: number, col: number): number => values[row * cols + col] as number;

export function matrix(rows: number, cols: number, value: (row: number, col: number) => number): Matrix {
  return { rows, cols, values: Float64Array.from({ length: rows * cols }, (_, e) => value(Math.floor(e / cols), e % cols)) };
}

/** The elements, widened to f32; the first axis is that of the rows. */
export async function read(tensor: Tensor): Promise<Matrix> {
  using widened = tensor.dtype === "f32" ? undefined : cast(tensor, "f32");
  const [rows = 1] = tensor.shape;
  return { rows, cols: tensor.size / rows, values: (await (widened ?? tensor).data()) as Float32Array };
}

/** Some rows alone: of a large tensor the others are not copied. */
export async function readRows(tensor: Tensor, rows: readonly number[]): Promise<Matrix> {
  if (tensor.shape.length === 0) return read(tensor);
  const parts = await Promise.all(
    rows.map(async (row) => {
      using part = slice(tensor, 0, row, row + 1);
      return await read(part);
    }),
  );
  return matrix(rows.length, parts[0]?.cols ?? 0, (r, c) => at(parts[r] as Matrix, 0, c));
}

/** What `make` gives, made when it is first wanted. */
export function once<T>(make: () => Promise<T>): () => Promise<T> {
  let made: Promise<T> | undefined;
  return () => (made ??= make());
}

export const rowsOf = (x: Matrix, rows: readonly number[]): Matrix => matrix(rows.length, x.cols, (r, c) => at(x, rows[r] as number, c));

/** Columns as rows. */
export const columnsOf = (x: Matrix, cols: readonly number[]): Matrix => matrix(cols.length, x.rows, (r, c) => at(x, c, cols[r] as number));

export const plus = (a: Matrix, b: Matrix): Matrix => matrix(a.rows, a.cols, (r, c) => at(a, r, c) + at(b, r, c));

/** Of n elements, from some place on. */
export function dot(a: Matrix["values"], i: number, b: Matrix["values"], j: number, n: number): number {
  let sum = 0;
  for (let k = 0; k < n; k++) sum += (a[i + k] as number) * (b[j + k] as number);
  return sum;
}

/** a[M, K] · b[K, N], or with `turned` a[M, K] · b[N, K]ᵀ; along the rows of b, which may be larger than the caches. */
export function product(a: Matrix, b: Matrix, turned = false): Matrix {
  const [cols, left, right] = [turned ? b.rows : b.cols, a.values, b.values];
  const values = new Float64Array(a.rows * cols);
  for (let row = 0; row < b.rows; row++) {
    for (let m = 0; m < a.rows; m++) {
      const [from, to] = [row * b.cols, m * cols];
      if (turned) values[to + row] = dot(left, m * a.cols, right, from, b.cols);
      const factor = turned ? 0 : (left[m * a.cols + row] as number);
      for (let c = 0; c < b.cols && !turned; c++) values[to + c] = (values[to + c] as number) + factor * (right[from + c] as number);
    }
  }
  return { rows: a.rows, cols, values };
}

/** Rows of a[M, K] · b[N, K]ᵀ (NT), a[M, K] · b[K, N] (NN) or a[K, M]ᵀ · b[K, N] (TN). */
export const products =
  (form: "NT" | "NN" | "TN", a: Tensor, b: Tensor): Rows =>
  async (rows) =>
    product(form === "TN" ? columnsOf(await read(a), rows) : await readRows(a, rows), await read(b), form === "NT");

/** What is wrong with an answer; undefined: nothing. */
export async function mismatch({ name, tensor, rows, bound, expected }: Answer): Promise<string | undefined> {
  const [found, wanted] = [await readRows(tensor, rows), await expected(rows)];
  const skipped = found.cols - wanted.cols;
  for (const [r, row] of rows.entries()) {
    for (let c = 0; c < wanted.cols; c++) {
      const [is, should] = [at(found, r, c + skipped), at(wanted, r, c)];
      if (!(Math.abs(is - should) <= bound)) return `${name}[${row}, ${c + skipped}] is ${is}, expected ${should} within ${bound.toPrecision(2)}`;
    }
  }
  return undefined;
}
