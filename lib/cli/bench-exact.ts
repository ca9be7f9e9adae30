/**
 * @file Float64 beside the answers of kernels. Each element knows the size of its terms, the sum of their absolute values: rounding errors of
 * K terms add up like a random walk, so an honest f32 answer is within 4 √K 2⁻²⁴ of that size, and one rounding.
 */
import { cast } from "../functions.js";
import type { Tensor } from "../tensor/tensor.js";

/** What a tensor holds, widened to f32. */
export interface Floats {
  readonly rows: number;
  readonly cols: number;
  readonly values: Float32Array;
}

/** Some rows in float64, and the sizes of their terms. */
export interface Exact {
  readonly rows: number;
  readonly cols: number;
  readonly values: Float64Array;
  readonly sizes: Float64Array;
}

/** A kernel's answer: which of its rows are compared, with what, and how many units of 2⁻²⁴ of the size they may be off. */
export interface Answer {
  readonly name: string;
  readonly tensor: Tensor;
  readonly rows: readonly number[];
  readonly units: number;
  readonly expected: (rows: readonly number[]) => Promise<Exact>;
}

/** Of a sum of `terms` products. */
export const unitsOf = (terms: number): number => 4 * Math.sqrt(terms) + 1;

export async function floats(tensor: Tensor): Promise<Floats> {
  const { rows, cols } = tensor;
  if (tensor.dtype === "f32") return { rows, cols, values: (await tensor.data()) as Float32Array };
  using widened = cast(tensor, "f32");
  return { rows, cols, values: await widened.data() };
}

/** Elements by row and column; the size of one that is not given is its own. */
export function exact(rows: number, cols: number, value: (row: number, col: number) => number, size?: (row: number, col: number) => number): Exact {
  const values = Float64Array.from({ length: rows * cols }, (_, e) => value(Math.floor(e / cols), e % cols));
  const sizes = size === undefined ? values.map(Math.abs) : values.map((_, e) => size(Math.floor(e / cols), e % cols));
  return { rows, cols, values, sizes };
}

const element = ({ cols, values }: Floats | Exact, row: number, col: number): number => values[row * cols + col] as number;

export const rowsOf = (x: Floats | Exact, rows: readonly number[]): Exact =>
  exact(rows.length, x.cols, (r, c) => element(x, rows[r] as number, c), "sizes" in x ? (r, c) => x.sizes[(rows[r] as number) * x.cols + c] as number : undefined);

/** Columns as rows. */
export const columnsOf = (x: Floats | Exact, cols: readonly number[]): Exact =>
  exact(cols.length, x.rows, (r, c) => element(x, c, cols[r] as number), "sizes" in x ? (r, c) => x.sizes[c * x.cols + (cols[r] as number)] as number : undefined);

/** a + factor · b */
export const plus = (a: Exact, b: Exact, factor = 1): Exact =>
  exact(
    a.rows,
    a.cols,
    (r, c) => (a.values[r * a.cols + c] as number) + factor * (b.values[r * a.cols + c] as number),
    (r, c) => (a.sizes[r * a.cols + c] as number) + Math.abs(factor) * (b.sizes[r * a.cols + c] as number),
  );

/** a[M, K] · b[K, N], or with `turned` a[M, K] · b[N, K]ᵀ. */
export function product(a: Exact, b: Floats, { turned = false } = {}): Exact {
  const cols = turned ? b.rows : b.cols;
  const [values, sizes] = [new Float64Array(a.rows * cols), new Float64Array(a.rows * cols)];
  // Along the rows of b, which may be larger than the caches.
  for (let row = 0; row < b.rows; row++) {
    const line = b.values.subarray(row * b.cols, (row + 1) * b.cols);
    for (let m = 0; m < a.rows; m++) {
      if (turned) dot(a, m, line, values, sizes, m * cols + row);
      else spread(a, m * a.cols + row, line, values, sizes, m * cols);
    }
  }
  return { rows: a.rows, cols, values, sizes };
}

function dot(a: Exact, m: number, line: Float32Array, values: Float64Array, sizes: Float64Array, to: number): void {
  let [value, size] = [0, 0];
  const from = m * a.cols;
  for (let k = 0; k < line.length; k++) {
    const right = line[k] as number;
    value += (a.values[from + k] as number) * right;
    size += (a.sizes[from + k] as number) * Math.abs(right);
  }
  values[to] = value;
  sizes[to] = size;
}

function spread(a: Exact, at: number, line: Float32Array, values: Float64Array, sizes: Float64Array, to: number): void {
  const [left, size] = [a.values[at] as number, a.sizes[at] as number];
  for (let n = 0; n < line.length; n++) {
    const right = line[n] as number;
    values[to + n] = (values[to + n] as number) + left * right;
    sizes[to + n] = (sizes[to + n] as number) + size * Math.abs(right);
  }
}

/** Rows that stand for all: the first, the last, and some between. */
export const sampled = (rows: number, most = 7): number[] =>
  Array.from({ length: Math.min(rows, most) }, (_, i) => (rows <= most ? i : Math.floor((i * (rows - 1)) / (most - 1))));

/** What is wrong with an answer; undefined: nothing. */
export async function mismatch({ name, tensor, rows, units, expected }: Answer): Promise<string | undefined> {
  const [found, wanted] = [rowsOf(await floats(tensor), rows), await expected(rows)];
  const bound = (i: number): number => units * 2 ** -24 * (wanted.sizes[i] as number) + 2 ** -126;
  const at = wanted.values.findIndex((value, i) => !(Math.abs((found.values[i] as number) - value) <= bound(i)));
  if (at < 0) return undefined;
  const place = `${name}[${rows[Math.floor(at / wanted.cols)]}, ${at % wanted.cols}]`;
  return `${place} is ${found.values[at]}, expected ${wanted.values[at]} within ${bound(at).toPrecision(2)}`;
}
