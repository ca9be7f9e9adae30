/** @file Sample values of a case: numbers that are exact in the type of their input. */
import { isQuantized } from "../../lib/tensor/dtype.js";
import { elementsOf } from "../../lib/tensor/shape.js";
import { type Case, sizeOf } from "./cases.js";
import { roundTo } from "./formats.js";
import { quantized } from "./quantized.js";
import { Random } from "./random.js";

export interface Values {
  readonly inputs: Readonly<Record<string, Float64Array>>;
  /** The bytes of inputs that are quantised. */
  readonly bytes: Readonly<Record<string, Uint8Array>>;
  /** The gradient that comes back to the output. */
  dy(size: number): Float64Array;
}

/** Ops whose bound is relative must be right far from 0 too. */
const spreads: Readonly<Record<string, readonly number[]>> = { ulp: [1, 4, 0.01], flash: [1, 4], exact: [1, 100], reduction: [1] };

export function valuesOf(one: Case): Values {
  const { op, shapes, dtypes, params, seed } = one;
  const random = new Random(`${op.name} ${one.dtype} ${one.layout} ${seed}`);
  const spread = random.pick(spreads[op.tolerance] as readonly number[]);
  const draw = (name: string): (() => number) => {
    const kind = op.values?.[op.variadic ? "x" : name] ?? "normal";
    const dtype = dtypes[name] ?? "f32";
    const [range = "", dim = ""] = kind.split(" ");
    if (range === "below") return () => label(random, sizeOf(one, dim), { ...op.defaults, ...params });
    if (range === "spans") return spansBelow(random, sizeOf(one, dim));
    if (dtype === "u8") return () => random.below(256);
    if (dtype === "i32") return () => (random.unit() < 0.1 ? Math.trunc((random.unit() - 0.5) * 2 ** 32) : random.below(2001) - 1000);
    if (kind === "away-from-zero") return () => roundTo(dtype, (random.unit() < 0.5 ? -1 : 1) * (0.1 + Math.abs(random.normal())));
    return () => roundTo(dtype, spread * random.normal());
  };
  const inputs: Record<string, Float64Array> = Object.fromEntries(
    Object.entries(shapes).map(([name, shape]) => [name, Float64Array.from({ length: elementsOf(shape) }, draw(name))]),
  );
  const bytes: Record<string, Uint8Array> = {};
  for (const [name, dtype] of Object.entries(dtypes)) {
    if (!isQuantized(dtype)) continue;
    const weight = quantized(dtype, inputs[name] as Float64Array, shapes[name]?.at(-1) ?? 1);
    inputs[name] = weight.values;
    bytes[name] = weight.bytes;
  }
  return { inputs, bytes, dy: (size) => Float64Array.from({ length: size }, () => Math.fround(random.normal())) };
}

/** Numbers that are alternately first and end of a range of [0, size): one in eight empty, one in eight reaching out on both sides. */
function spansBelow(random: Random, size: number): () => number {
  let end: number | undefined;
  return () => {
    const before = end;
    end = undefined;
    if (before !== undefined) return before;
    const kind = random.below(8);
    const first = kind === 1 ? -2 : random.below(size + 1);
    end = kind === 0 ? first : kind === 1 ? size + 3 : first + random.below(size - first + 1);
    return first;
  };
}

/** An index below `count`, or now and then (always, when there is none) the label that counts nothing. */
function label(random: Random, count: number, { ignoreIndex }: { readonly ignoreIndex?: number }): number {
  return ignoreIndex !== undefined && (count === 0 || random.unit() < 0.2) ? ignoreIndex : random.below(count);
}
