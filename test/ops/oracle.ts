/** @file The float64 side: an op's reference or composition, and its gradients by finite differences. */
import type { AnyOp, Compose } from "../../lib/ops/op.js";
import { fromIndex, map, type Ref } from "../../lib/ops/reference.js";

export type RefInputs = Readonly<Record<string, Ref>>;

/** The parameters as the engine would see them: defaults, given ones, and what `shape` adds. */
export function settingsOf(op: AnyOp, inputs: Readonly<Record<string, { readonly shape: readonly number[] } | undefined>>, params: object): object {
  const settings = { ...op.defaults, ...params };
  op.shape?.(Object.fromEntries(Object.entries(inputs).flatMap(([name, x]) => (x === undefined ? [] : [[name, x.shape]]))), settings);
  return settings;
}

/** The op in float64. */
export const reference: Compose<Ref> = (op, inputs, params = {}) => {
  const settings = settingsOf(op, inputs, params);
  if (op.reference !== undefined) return op.reference(inputs, settings);
  if (op.composed !== undefined) return op.composed(reference, inputs, settings);
  throw new Error(`${op.name} has no oracle`);
};

/** As `reference`, for thousands of calls: an op that draws random numbers is linear in x, so its factors are drawn once. */
export function drawingOnce(): Compose<Ref> {
  const factors = new Map<string, Ref>();
  const evaluate: Compose<Ref> = (op, inputs, params = {}) => {
    const { x } = inputs;
    if (op.composed !== undefined) return op.composed(evaluate, inputs, settingsOf(op, inputs, params));
    if (!("record" in op.defaults) || x === undefined) return reference(op, inputs, params);
    const key = `${x.shape} ${Object.values(params).filter((value) => typeof value === "number")}`;
    const drawn = factors.get(key) ?? reference(op, { x: fromIndex(x.shape, () => 1) }, params);
    factors.set(key, drawn);
    return map(x, (value, i) => value * (drawn.data[i] as number));
  };
  return evaluate;
}

/** Ops that are polynomials of degree one in each element (relu: away from 0): central differences are exact for any step. */
const linearTolerances = ["exact", "reduction"];

export interface Difference {
  readonly value: number;
  /** How far the difference itself may be from the derivative. */
  readonly error: number;
}

/**
 * d(Σ dy·y) / d(element of input `name`) by central differences of the float64 oracle. Sums differences of y, not of the sum, so that
 * outputs that do not depend on the element add no rounding.
 */
export function difference(op: AnyOp, evaluate: () => Ref, input: Ref, element: number, dy: Float64Array): Difference {
  const linear = linearTolerances.includes(op.tolerance);
  // 2^-6: x ± h is exact. 2^-9 with five points: h^4 / 30 = 5e-13 of the fifth derivative, 2^-53 / h = 6e-14 of y.
  const h = linear ? 2 ** -6 : 2 ** -9;
  const weights = linear
    ? [[1, 1 / 2]]
    : [
        [1, 2 / 3],
        [2, -1 / 12],
      ];
  let value = 0;
  let size = 0;
  for (const [steps = 0, weight = 0] of weights) {
    const [plus, minus] = [steps, -steps].map((step) => shifted(evaluate, input, element, step * h)) as [Float64Array, Float64Array];
    for (let i = 0; i < dy.length; i++) {
      const [p, m, g] = [plus[i] as number, minus[i] as number, dy[i] as number];
      if (p === m) continue;
      value += (weight / h) * g * (p - m);
      size += Math.abs(g) * Math.max(Math.abs(p), Math.abs(m));
    }
  }
  // Rounding of y (2^-53 / h, a few operations), and truncation where y is not linear (measured: below 2^-40 of |dy·y|).
  return { value, error: size * (linear ? 2 ** -44 : 2 ** -38) };
}

function shifted(evaluate: () => Ref, input: Ref, element: number, by: number): Float64Array {
  const before = input.data[element] as number;
  input.data[element] = before + by;
  const { data } = evaluate();
  input.data[element] = before;
  return data;
}

/** The same with absolute values: the G of the bounds. */
export const absolute = (x: Ref): Ref => map(x, Math.abs);

/** Parameters that are factors, by their size. */
export function absoluteParams(params: Readonly<Record<string, unknown>>): Record<string, unknown> {
  const { scale, factor } = params;
  return {
    ...params,
    ...(typeof scale === "number" ? { scale: Math.abs(scale) } : {}),
    ...(typeof factor === "number" ? { factor: Math.abs(factor) } : {}),
  };
}
