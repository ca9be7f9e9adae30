/**
 * @file The public ops: one typed function each. The types compare sizes; the run-time check (the op's signature) is the authority.
 * All of them throw LowrankError BAD_SHAPE, BAD_DTYPE, BAD_ARGUMENT, DISPOSED, WRONG_ENVIRONMENT or OUT_OF_MEMORY, synchronously.
 */
import { apply } from "./autograd/apply.js";
import { currentRecord, siteOf } from "./autograd/randomness.js";
import { LowrankError } from "./native/errors.js";
import * as ops from "./ops/index.js";
import { tensor } from "./tensor/create.js";
import type { DType, FloatDType, WeightDType } from "./tensor/dtype.js";
import { ignoredLabel } from "./tensor/labels.js";
import { type Dim, type Dyn, elementsOf, type Known, type Shape } from "./tensor/shape.js";
import { attentionSpans, type SpanOptions } from "./tensor/spans.js";
import type { Tensor } from "./tensor/tensor.js";

type F32<S extends Shape = Dyn> = Tensor<S, "f32">;

/** y = a + b. b has a's shape, or is a trailing vector [N], or a scalar []. */
export const add = <S extends Shape = Dyn>(a: F32<S>, b: F32): F32<S> => apply(ops.addOp, { a, b });

/** y = a ⊙ b. b has a's shape, or is a trailing vector [N], or a scalar []. */
export const mul = <S extends Shape = Dyn>(a: F32<S>, b: F32): F32<S> => apply(ops.mulOp, { a, b });

/** y = factor · x. */
export const scale = <S extends Shape = Dyn>(x: F32<S>, factor: number): F32<S> => apply(ops.scaleOp, { x }, { factor: finite("scale", factor) });

/** y[..., O] = x[..., I] · w[O, I]ᵀ + bias[O]. The weight may be stored in any type of weights. */
export function linear<P extends Shape = Dyn, I extends Dim = Dyn, O extends Dim = Dyn>(
  x: F32<[...P, I]>,
  w: Tensor<[O, NoInfer<I>], WeightDType>,
  bias?: F32<[NoInfer<O>]>,
): F32<[...P, O]> {
  return apply(ops.linearOp, { x, w, bias });
}

/** c[..., M, N] = a[..., M, K] · b[..., K, N], for each matrix of the equal leading axes. */
export function matmul<P extends Shape = Dyn, M extends Dim = Dyn, K extends Dim = Dyn, N extends Dim = Dyn>(
  a: F32<[...P, M, K]>,
  b: F32<[...P, NoInfer<K>, N]>,
): F32<[...P, M, N]> {
  return apply(ops.matmulOp, { a, b });
}

export interface LoraLinearOptions<O extends Dim = Dyn, R extends Dim = Dyn> {
  readonly bias?: F32<[O]> | undefined;
  /** The middle factor: a vector [R] (a diagonal) or a matrix [R, R]. */
  readonly middle?: F32<[R]> | F32<[R, R]> | undefined;
  /** s in the formula; default 1. */
  readonly scale?: number;
  /** Probability of dropout on x, on the low-rank path only; default 0. */
  readonly dropout?: number;
  /** Tells this place in the model from all others, for dropout. */
  readonly site?: string;
}

/** y[..., O] = x[..., I]·w[O, I]ᵀ + bias + s·((drop(x)·a[R, I]ᵀ)·m)·b[O, R]ᵀ in one pass over y. w is frozen and may be stored in any type of weights. */
export function loraLinear<P extends Shape = Dyn, I extends Dim = Dyn, O extends Dim = Dyn, R extends Dim = Dyn>(
  x: F32<[...P, I]>,
  w: Tensor<[O, NoInfer<I>], WeightDType>,
  a: F32<[R, NoInfer<I>]>,
  b: F32<[NoInfer<O>, NoInfer<R>]>,
  options: LoraLinearOptions<NoInfer<O>, NoInfer<R>> = {},
): F32<[...P, O]> {
  const { bias, middle, scale: s = 1, dropout: p = 0, site = "" } = options;
  const record = p > 0 ? currentRecord() : undefined;
  return apply(ops.loraLinearOp, { x, w, bias, a, m: middle, b }, { scale: finite("loraLinear", s), p, site: p > 0 ? siteOf(site) : 0, record });
}

/** y = max(x, 0); NaN stays NaN. */
export const relu = <S extends Shape = Dyn>(x: F32<S>): F32<S> => apply(ops.reluOp, { x });

/** y = x·Φ(x) ("none", exact) or its approximation by tanh. */
export function gelu<S extends Shape = Dyn>(x: F32<S>, { approximate = "none" }: { readonly approximate?: "none" | "tanh" } = {}): F32<S> {
  if (approximate !== "none" && approximate !== "tanh") {
    throw new LowrankError("BAD_ARGUMENT", `gelu: approximate is "none" or "tanh", found ${JSON.stringify(approximate)}`);
  }
  return apply(ops.geluOp, { x }, { approximate });
}

/** y = x / (1 + exp(−x)). */
export const silu = <S extends Shape = Dyn>(x: F32<S>): F32<S> => apply(ops.siluOp, { x });

/** exp(x) / Σ exp(x) over the last axis. */
export const softmax = <S extends Shape = Dyn>(x: F32<S>): F32<S> => apply(ops.softmaxOp, { x });

export interface CrossEntropyOptions {
  /** "mean" over the labels that count (default), or their "sum". */
  readonly reduction?: "mean" | "sum";
  /** A row with this label counts nothing; default −100. */
  readonly ignoreIndex?: number;
}

/**
 * The cross-entropy of logits [..., V] against labels [...] (i32). A label outside of 0 … V − 1 that is not ignored makes everything that
 * depends on the loss reject with INDEX_OUT_OF_RANGE. When no label counts, the loss is 0.
 */
export function crossEntropy<P extends Shape = Dyn>(logits: F32<[...P, Dim]>, labels: Tensor<P, "i32">, options: CrossEntropyOptions = {}): F32<[]> {
  const { reduction = "mean", ignoreIndex = ignoredLabel } = options;
  return apply(ops.crossEntropyOp, { logits, labels }, { reduction, ignoreIndex });
}

/** The sum of all elements, or along one axis (negative ones count from the end), which then disappears. */
export function sum(x: F32): F32<[]>;
export function sum(x: F32, axis: number): F32;
export function sum(x: F32, axis?: number): F32 {
  return apply(ops.sumOp, { x }, { axis });
}

/** The mean of all elements, or along one axis. NaN when there are none. */
export function mean(x: F32): F32<[]>;
export function mean(x: F32, axis: number): F32;
export function mean(x: F32, axis?: number): F32 {
  return apply(ops.meanOp, { x }, { axis });
}

/** The same elements in another shape; one size may be −1. A view where the rows allow it. */
export const reshape = <const T extends readonly number[], D extends DType = Dyn>(x: Tensor<Dyn, D>, shape: T): Tensor<Known<T>, D> =>
  apply(ops.reshapeOp, { x }, { to: shape });

/** Elements start … end − 1 of one axis. A view for the first and the last axis, else a copy. */
export const slice = <D extends DType = Dyn>(x: Tensor<Dyn, D>, axis: number, start: number, end?: number): Tensor<Dyn, D> =>
  apply(ops.sliceOp, { x }, { axis, start, end });

/** The tensors one after the other along an axis; all other sizes must be equal. */
export function concat(tensors: readonly F32[], axis = 0): F32 {
  if (!Array.isArray(tensors) || tensors.length === 0) throw new LowrankError("BAD_ARGUMENT", "concat: expected an array with at least one tensor");
  return apply(ops.concatOp, Object.fromEntries(tensors.map((x, i) => [`x${i}`, x])), { axis });
}

/** Swaps the last two axes (a copy). */
export const transpose = <P extends Shape = Dyn, M extends Dim = Dyn, N extends Dim = Dyn>(x: F32<[...P, M, N]>): F32<[...P, N, M]> =>
  apply(ops.transposeOp, { x });

/** Converts to f32, bf16 or f16, rounding to nearest even. i32, u8 and quantised weights convert to f32. */
export const cast = <S extends Shape = Dyn, D extends FloatDType = FloatDType>(x: Tensor<S, DType>, dtype: D): Tensor<S, D> =>
  apply(ops.castOp, { x }, { dtype }) as Tensor<S, D>;

export interface DropoutOptions {
  /** Probability that an element becomes 0; default 0.5. */
  readonly p?: number;
  /** Tells this place in the model from all others: equal sites draw equal masks. */
  readonly site?: string;
}

/**
 * Zeroes elements with probability p and scales the others by 1 / (1 − p). The mask is a pure function of seed, step, micro-batch, site and
 * element: nothing is saved for the gradient. (The module `Dropout` does this only inside of valueAndGrad.)
 */
export const dropout = <S extends Shape = Dyn>(x: F32<S>, { p = 0.5, site = "" }: DropoutOptions = {}): F32<S> =>
  apply(ops.dropoutOp, { x }, { p, site: siteOf(site), record: currentRecord() });

/**
 * The rows of a table [V, D] at tokens [...] (i32): y[..., D] f32. The table may be stored as bf16 or f16. A token outside of 0 … V − 1 makes
 * everything that depends on y reject with INDEX_OUT_OF_RANGE.
 */
export const embedding = <P extends Shape = Dyn, D extends Dim = Dyn>(
  tokens: Tensor<P, "i32">,
  table: Tensor<[Dim, D], WeightDType>,
): F32<[...P, D]> => apply(ops.embeddingOp, { tokens, table });

/** x / √(mean(x²) + eps) ⊙ w over the last axis (Zhang and Sennrich 2019, arXiv:1910.07467). */
export const rmsNorm = <P extends Shape = Dyn, N extends Dim = Dyn>(
  x: F32<[...P, N]>,
  w: F32<[NoInfer<N>]>,
  { eps = 1e-6 }: { readonly eps?: number } = {},
): F32<[...P, N]> => apply(ops.rmsNormOp, { x, w }, { eps });

/** silu(gate) ⊙ up (Shazeer 2020, arXiv:2002.05202). */
export const swiglu = <S extends Shape = Dyn>(gate: F32<S>, up: F32<NoInfer<S>>): F32<S> => apply(ops.swigluOp, { gate, up });

/**
 * Rotary position embedding (Su et al. 2021, arXiv:2104.09864) of x[..., T, H, K]: the pairs (x[i], x[i + K/2]) are turned by the angle of
 * their position. Row p of the table [P, K] holds K/2 cosines, then K/2 sines (`ropeTable` makes it); positions[..., T] (i32) choose the row.
 */
export const rope = <S extends Shape = Dyn>(x: F32<S>, table: F32<[Dim, Dim]>, positions: Tensor<Dyn, "i32">): F32<S> =>
  apply(ops.ropeOp, { x, table, positions });

export interface AttentionOptions extends SpanOptions {
  /** Factor of the scores; default 1/√K. */
  readonly scale?: number;
  /** The keys that each query sees, as pairs [first, end) in [..., T, 2] (i32), in place of `causal` and `window`; an empty range gives 0. */
  readonly spans?: Tensor<Dyn, "i32">;
}

/**
 * softmax(scale·q·kᵀ)·v for q[..., T, H, K] and k, v[..., S, G, K]; y[..., T, H, K]. Head h reads kv head ⌊h / (H/G)⌋. No T × S buffer is made.
 * What a query sees is one range of keys: all of them, those up to its own (`causal`), a sliding `window`, or any `spans` (packed sequences,
 * padding, a cache).
 */
export function attention<S extends Shape = Dyn>(q: F32<S>, k: F32, v: F32, options: AttentionOptions = {}): F32<S> {
  const { scale: factor, spans: given, causal, window } = options;
  if (given !== undefined) {
    if (causal !== undefined || window !== undefined) throw new LowrankError("BAD_ARGUMENT", "attention: give either spans, or causal and window");
    return apply(ops.attentionOp, { q, k, v, spans: given }, { scale: factor });
  }
  const shape: readonly number[] = q.shape;
  const [leading, queries, keys] = [shape.slice(0, -3), shape[shape.length - 3] ?? 0, (k.shape as readonly number[])[k.shape.length - 3] ?? 0];
  const spans = tensor(attentionSpans(elementsOf(leading), queries, keys, { causal, window }), [...leading, queries, 2]);
  try {
    return apply(ops.attentionOp, { q, k, v, spans }, { scale: factor });
  } finally {
    spans.dispose();
  }
}

/**
 * The cross-entropy of x[..., D]·w[V, D]ᵀ against labels [...] (i32), as `crossEntropy(linear(x, w), labels)` without ever holding all logits:
 * rows go through in chunks, and the gradient of each chunk is formed at once. The weight may be stored as bf16 or f16 when it is frozen.
 */
export function linearCrossEntropy<P extends Shape = Dyn, D extends Dim = Dyn>(
  x: F32<[...P, D]>,
  w: Tensor<[Dim, NoInfer<D>], WeightDType>,
  labels: Tensor<P, "i32">,
  { reduction = "mean", ignoreIndex = ignoredLabel }: CrossEntropyOptions = {},
): F32<[]> {
  return apply(ops.linearCrossEntropyOp, { x, w, labels }, { reduction, ignoreIndex });
}

/** Index of the largest element of the last axis: the first of equals; NaN counts as largest. */
export const argmax = <P extends Shape = Dyn>(x: F32<[...P, Dim]>): Tensor<P, "i32"> => apply(ops.argmaxOp, { x });

function finite(op: string, value: number): number {
  if (Number.isFinite(value)) return value;
  throw new LowrankError("BAD_ARGUMENT", `${op}: the factor must be a finite number, found ${String(value)}`);
}
