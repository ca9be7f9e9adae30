/** @file What an op is: one definition from which engine, tests, docs and benchmarks follow. */
import type { View } from "../native/engine.js";
import type { Kernels } from "../native/kernels.js";
import type { DType } from "../tensor/dtype.js";
import type { Tensor } from "../tensor/tensor.js";
import type { Ref } from "./reference.js";
import { type InputNames, type OutputNames, parseSignature, type SaveNames, type Signature } from "./signature.js";

export type { View } from "../native/engine.js";
export type { Kernels } from "../native/kernels.js";

type Views<N extends string> = { readonly [K in N]: View | undefined };
type All<S extends string> = InputNames<S> | OutputNames<S> | SaveNames<S>;

/** What `forward` sees: every input (absent ones undefined), output and save. */
export type ForwardViews<S extends string> = Views<All<S>>;
/** What `backward` sees: what it keeps, the gradient `dy` of each output y, and the wanted gradients `dx` (undefined: not wanted). */
export type BackwardViews<S extends string> = Views<All<S> | `d${InputNames<S> | OutputNames<S>}`>;

/** Runs another op on whatever values the caller works with: tensors of the engine, or float64 references. */
export type Compose<T> = (op: AnyOp, inputs: Readonly<Record<string, T | undefined>>, params?: object) => T;

/** How close a kernel must come to the float64 oracle (the bounds are in test/ops/bounds.ts). */
export type Tolerance = "exact" | "reduction" | "flash" | "ulp";

/**
 * `below V`: indexes below the size V of the signature, and now and then the `ignoreIndex` of ops that have one. `spans S`: pairs
 * [first, end) of indexes up to S, some of them empty.
 */
export type ValueRange = "normal" | "away-from-zero" | `below ${string}` | `spans ${string}`;

export interface SampleSizes {
  readonly small: readonly number[];
  readonly large: number;
}

export interface OpDefinition<S extends string, P extends object> {
  /** The public function's name. */
  readonly name: string;
  readonly signature: S;
  /** One line of mathematics, for the docs. */
  readonly formula: string;
  /** Element types each input may have. */
  readonly dtypes: { readonly [K in InputNames<S>]: readonly DType[] };
  /** The output's type where it is not f32; "input": that of the first input. A function may refuse the first input's type. */
  readonly output?: DType | "input" | ((params: P, first: DType) => DType);
  /** Any number of inputs: the signature's one input x stands for x0, x1, … */
  readonly variadic?: boolean;
  /** Inputs that may have a gradient. What is not listed cannot be trained through this op, and is never computed by accident. */
  readonly gradients: readonly InputNames<S>[];
  /** Inputs and outputs that `backward` reads (saves are always kept). */
  readonly keeps?: readonly (InputNames<S> | OutputNames<S>)[];
  /** Costs little: who needs the output for a gradient computes it again from what this op keeps, which is all of its inputs. */
  readonly remake?: true;
  /** Parameters with their default values. */
  readonly defaults: P;
  /** Checks parameters and gives the output's shape where the signature alone does not (else undefined). Throws LowrankError. */
  readonly shape?: (shapes: Readonly<Record<string, readonly number[]>>, params: P) => number[] | undefined;
  /** Inputs whose rows must be packed because the op folds them in another way. */
  readonly packed?: readonly InputNames<S>[];
  /** The output as a view of the input, where that needs no copy. */
  readonly alias?: (x: Tensor, params: P, shape: readonly number[]) => Tensor | undefined;
  readonly forward: (k: Kernels, t: ForwardViews<S>, params: P) => void;
  readonly backward?: (k: Kernels, t: BackwardViews<S>, params: P) => void;
  /** The oracle of a primitive: the same function in float64. Exactly one of `reference` and `composed` is given. */
  readonly reference?: (inputs: { readonly [K in InputNames<S>]: Ref }, params: P) => Ref;
  /** The oracle of a fused op: the same function made of other ops. */
  readonly composed?: <T>(apply: Compose<T>, inputs: { readonly [K in InputNames<S>]: T | undefined }, params: P) => T;
  readonly tolerance: Tolerance;
  /** Ranges of sample inputs for the generated tests; default: normal around 0. */
  readonly values?: Partial<Record<InputNames<S>, ValueRange>>;
  /** Sample sizes for the generated tests, where the usual ones do not fit or cost the oracle too much: small ones, and one large. */
  readonly sizes?: Readonly<Record<string, SampleSizes>>;
  /** Parameter sets that the generated tests run, beside the defaults. */
  readonly cases?: readonly Partial<P>[];
}

export interface Op<S extends string = string, P extends object = object> extends OpDefinition<S, P> {
  readonly parsed: Signature;
}

type Any = /* biome-ignore lint/suspicious/noExplicitAny: signature and parameters are erased where ops are kept in one list */ any;

/** An op of any signature, as the engine and the registry hold it. */
export interface AnyOp
  extends Omit<Op<string, Any>, "dtypes" | "gradients" | "keeps" | "packed" | "forward" | "backward" | "reference" | "composed" | "values"> {
  readonly dtypes: Readonly<Record<string, readonly DType[]>>;
  readonly gradients: readonly string[];
  readonly keeps?: readonly string[];
  readonly packed?: readonly string[];
  readonly forward: (k: Kernels, t: Any, params: Any) => void;
  readonly backward?: (k: Kernels, t: Any, params: Any) => void;
  readonly reference?: (inputs: Any, params: Any) => Ref;
  readonly composed?: <T>(apply: Compose<T>, inputs: Any, params: Any) => T;
  readonly values?: Readonly<Record<string, ValueRange | undefined>>;
}

export const defineOp = <const S extends string, P extends object>(op: OpDefinition<S, P>): Op<S, P> => ({
  ...op,
  parsed: parseSignature(op.signature),
});

/** A packed view seen with other rows and columns. */
export const fold = (view: View | undefined, rows: number, cols: number): View | undefined =>
  view && { handle: view.handle, dtypeCode: view.dtypeCode, offset: view.offset, rows, cols, ld: cols };

/** Columns `start` … `start + cols` of a view. */
export const columns = (view: View, start: number, cols: number): View => ({
  handle: view.handle,
  dtypeCode: view.dtypeCode,
  offset: view.offset + start,
  rows: view.rows,
  cols,
  ld: view.ld,
});
