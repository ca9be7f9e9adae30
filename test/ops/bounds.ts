/** @file How far a result may be from the float64 oracle: derived from the arithmetic, one rule for each `tolerance`. */
import type { AnyOp } from "../../lib/ops/op.js";
import type { ArgumentSpec } from "../../lib/ops/signature.js";

/** Unit roundoff of f32, the type of every accumulator and output. */
export const u = 2 ** -24;
/** Smallest normal f32: compute threads flush what is below to 0. */
export const tiny = 2 ** -126;

/** One correctly rounded operation. */
export const exactBound = (reference: number): number => u * Math.abs(reference) + tiny;

/**
 * A sum of K products: rounding errors of a chain add up like a random walk, √K·u·G, with G the sum of absolute values (Higham and Mary,
 * 2019). 4: four times the worst that an honest f32 chain showed; a bf16 accumulator is 65,536 times larger. `chains`: Σ √K.
 */
export const reductionBound = (chains: number, g: number, reference: number): number => 4 * chains * u * g + u * Math.abs(reference) + tiny;

/** Units in the last place that an activation may be off: 2 for the exponential, 1 each for the two operations around it. */
export const activationUlps = 4;

/** One ulp is at most 2u of the number. */
export const ulpBound = (size: number): number => activationUlps * 2 * u * Math.abs(size) + tiny;

/** The rule of FlashAttention: twice the error of a plain sequential f32 implementation, and one rounding (2u) of the largest value. */
export const flashBound = (plainError: number, largest: number): number => 2 * plainError + 2 * u * largest + tiny;

/** The fused op against its composition, both run by the engine: each may be off by its bound. */
export const bothBounds = 2;

type Shapes = Readonly<Record<string, readonly number[]>>;

const formOf = ({ forms }: ArgumentSpec, rank: number): readonly string[] =>
  forms.find((form) => form.length === rank && !form.includes("...")) ?? forms[0] ?? [];

const product = (shape: readonly number[]): number => shape.reduce((all, size) => all * size, 1);

/**
 * Σ √K over the sums that make one element of `target` (an input: of its gradient; undefined: of the output). A size that is not in the
 * target is summed over once for every two operands that have it. Where the signature names no such size, the number of elements tells.
 */
export function chainsOf(op: AnyOp, shapes: Shapes, output: readonly number[], target?: string): number {
  const all = new Map(Object.entries(shapes).map(([name, shape]) => [name, sizesOf(op, name, shape)]));
  const y = sizesOf(op, undefined, output);
  const own = target === undefined ? y : (all.get(target) ?? new Map());
  const operands = [...[...all].filter(([name]) => name !== target).map(([, sizes]) => sizes), ...(target === undefined ? [] : [y])];
  const counts = new Map<string, { size: number; tensors: number }>();
  for (const sizes of operands) for (const [dim, size] of sizes) counts.set(dim, { size, tensors: (counts.get(dim)?.tensors ?? 0) + 1 });
  let chains = 0;
  for (const [dim, { size, tensors }] of counts) if (!own.has(dim)) chains += Math.max(1, tensors - 1) * Math.sqrt(size);
  if (chains > 0 && !own.has("~")) return Math.max(1, chains);
  const summed =
    target === undefined ? Math.max(...Object.values(shapes).map(product)) / product(output) : product(output) / product(shapes[target] ?? []);
  return Math.max(1, Math.sqrt(Number.isFinite(summed) ? summed : 0));
}

/** The sizes of a tensor by their names in the signature; "..." is the number of rows. */
function sizesOf(op: AnyOp, name: string | undefined, shape: readonly number[]): Map<string, number> {
  const spec = name === undefined ? op.parsed.outputs[0] : op.parsed.inputs.find((input) => input.name === (op.variadic ? "x" : name));
  const form = spec === undefined ? [] : formOf(spec, shape.length);
  const named = form.filter((dim) => dim !== "...");
  const sizes = new Map(named.map((dim, i) => [dim, dim === "~" ? product(shape) : (shape[shape.length - named.length + i] as number)]));
  if (form.includes("...")) sizes.set("...", product(shape.slice(0, shape.length - named.length)));
  return sizes;
}
