/**
 * @file Shapes as types, and their run-time checks. The compiler compares sizes and never computes with them; run time is the authority.
 */
import { LowrankError } from "../native/errors.js";

/** A size the compiler cannot know: it fits every size and is checked when the code runs. */
// biome-ignore lint/suspicious/noExplicitAny: unknown sizes must fit every size in both directions
export type Dyn = any;

/** A literal (768), a name ("T") or Dyn. */
export type Dim = number | string;
export type Shape = readonly Dim[];

/** Literals and names are kept; a plain `number` (and the -1 of reshape) becomes Dyn. */
export type Known<S extends Shape> = { -readonly [I in keyof S]: number extends S[I] ? Dyn : S[I] extends -1 ? Dyn : S[I] };

/** The shape as it is when the code runs: names have become numbers. */
export type Sizes<S extends Shape> = { readonly [I in keyof S]: S[I] extends number ? S[I] : number };

/** Number of elements, of the first `axes` axes only where that is given; 1 for none. */
export function elementsOf(shape: readonly number[], axes = shape.length): number {
  let elements = 1;
  for (let i = 0; i < axes; i++) elements *= shape[i] as number;
  return elements;
}

export const sameShape = (a: readonly number[], b: readonly number[]): boolean => a.length === b.length && a.every((size, i) => size === b[i]);

export const shapeText = (shape: readonly Dim[]): string => `[${shape.join(", ")}]`;

const maxElements = 2 ** 48;

/** Checks that `shape` is a list of natural numbers with a product that can exist. `what` names it in the error. */
export function checkShape(shape: unknown, what: string): asserts shape is readonly number[] {
  if (!Array.isArray(shape)) throw new LowrankError("BAD_ARGUMENT", `${what}: a shape is an array of sizes, found ${typeof shape}`);
  for (const size of shape) {
    if (!Number.isSafeInteger(size) || size < 0) {
      throw new LowrankError("BAD_SHAPE", `${what}: sizes are natural numbers, found ${String(size)} in [${shape.join(", ")}]`, { actual: size });
    }
  }
  if (elementsOf(shape.filter((size: number) => size > 0)) > maxElements) {
    throw new LowrankError("BAD_SHAPE", `${what}: [${shape.join(", ")}] has more elements than memory can hold`, { actual: shape });
  }
}

/** An axis from 0 to rank - 1; negative ones count from the end. */
export function checkAxis(op: string, axis: number, shape: readonly number[]): number {
  const found = axis < 0 ? axis + shape.length : axis;
  if (Number.isInteger(axis) && found >= 0 && found < shape.length) return found;
  const allowed = shape.length === 0 ? "a scalar has no axis" : `axes go from ${-shape.length} to ${shape.length - 1}`;
  throw new LowrankError("BAD_AXIS", `${op}: axis ${axis} does not exist in ${shapeText(shape)}; ${allowed}`, { op, actual: axis, shape });
}

/** Replaces one -1 so that the element count fits. */
export function resolveReshape(from: readonly number[], to: readonly number[]): number[] {
  const unknown = to.indexOf(-1);
  const known = elementsOf(to.filter((_, i) => i !== unknown));
  const count = elementsOf(from);
  const shape = unknown < 0 ? [...to] : to.map((size, i) => (i === unknown ? count / known : size));
  checkShape(
    shape.map((size) => (Number.isInteger(size) ? size : 0)),
    "reshape",
  );
  if (shape.every(Number.isInteger) && elementsOf(shape) === count && !(unknown >= 0 && known === 0)) return shape;
  throw new LowrankError("BAD_SHAPE", `reshape: ${shapeText(from)} has ${count} elements and cannot become ${shapeText(to)}`, {
    op: "reshape",
    expected: count,
    actual: to,
  });
}
