/** @file The cases of an op, generated from its definition: dtypes × layouts × sizes × parameters × optional inputs × forms. */
import { LowrankError } from "../../lib/native/errors.js";
import type { AnyOp } from "../../lib/ops/op.js";
import { type ArgumentSpec, literalSize } from "../../lib/ops/signature.js";
import { type DType, nf4Block } from "../../lib/tensor/dtype.js";
import { elementsOf } from "../../lib/tensor/shape.js";
import { allPairs, type Factors, type Row, randomRow } from "./pairs.js";
import { Random } from "./random.js";

export type Layout = "packed" | "strided";

/** One call of an op. */
export interface Case {
  readonly op: AnyOp;
  /** What the case is counted under: the varying dtype and the layout. */
  readonly dtype: string;
  readonly layout: Layout;
  /** Present inputs only. */
  readonly shapes: Readonly<Record<string, readonly number[]>>;
  readonly dtypes: Readonly<Record<string, DType>>;
  readonly params: Readonly<Record<string, unknown>>;
  readonly seed: number;
  /** Sizes above the block sizes of kernels; fewer gradients are differenced. */
  readonly large: boolean;
}

/** Below, at and above each vector width, and nothing at all. */
const sizes = [0, 1, 3, 7, 8, 9, 17, 33, 64];
const largeSizes = [601, 37, 21];
const leadings: readonly (readonly number[])[] = [[], [1], [2, 3], [0]];
const layouts: readonly Layout[] = ["packed", "strided"];
const casesPerGroup = 34;

/** What an input named in the signature looks like in a row of the sample. */
interface Choice {
  readonly present: boolean;
  readonly form: readonly string[];
}

const lettersOf = (op: AnyOp): string[] => [...new Set(op.parsed.inputs.flatMap(({ forms }) => forms.flat()).filter((dim) => /^[A-Z]$/.test(dim)))];

const smallSizes = (op: AnyOp, letter: string): readonly number[] => op.sizes?.[letter]?.small ?? sizes;

/** "~" stands for three forms: the first input's shape, its trailing vector, a scalar. */
const formsOf = ({ forms }: ArgumentSpec): (readonly string[])[] => (forms[0]?.[0] === "~" ? [["~same"], ["~vector"], ["~scalar"]] : [...forms]);

const choicesOf = (spec: ArgumentSpec): Choice[] => [
  ...formsOf(spec).map((form) => ({ present: true, form })),
  ...(spec.optional ? [{ present: false, form: [] }] : []),
];

/** Every combination of the dtypes that the inputs may have. */
export function dtypeVariants(op: AnyOp): Readonly<Record<string, DType>>[] {
  return op.parsed.inputs.reduce<Record<string, DType>[]>(
    (variants, { name }) => variants.flatMap((variant) => (op.dtypes[name] ?? []).map((dtype) => ({ ...variant, [name]: dtype }))),
    [{}],
  );
}

/** The dtypes of the inputs that have a choice; "f32" where none has. */
export function dtypeLabel(op: AnyOp, variant: Readonly<Record<string, DType>>): string {
  const varying = op.parsed.inputs.filter(({ name }) => (op.dtypes[name] ?? []).length > 1).map(({ name }) => variant[name]);
  return varying.length === 0 ? "f32" : varying.join("/");
}

function factorsOf(op: AnyOp): Factors {
  const optional = op.parsed.inputs.filter((spec) => choicesOf(spec).length > 1).map((spec) => [spec.name, choicesOf(spec).length]);
  const letters = lettersOf(op).map((letter) => [letter, smallSizes(op, letter).length]);
  return {
    variant: dtypeVariants(op).length,
    layout: layouts.length,
    params: 1 + (op.cases?.length ?? 0),
    leading: leadings.length,
    ...(letters.length > 0 ? Object.fromEntries(letters) : { tail: sizes.length + 1 }),
    ...Object.fromEntries(optional),
    ...(op.variadic ? { count: 3 } : {}),
  };
}

/** All cases of an op. The same on every run. */
export function casesOf(op: AnyOp): Case[] {
  const random = new Random(op.name);
  const factors = factorsOf(op);
  const found = allPairs(factors, random).flatMap((row, seed) => caseOf(op, row, seed, false) ?? []);
  let seed = 1000;
  for (let variant = 0; variant < dtypeVariants(op).length; variant++) {
    for (let layout = 0; layout < layouts.length; layout++) {
      const group = { variant, layout };
      const label = dtypeLabel(op, dtypeVariants(op)[variant] as Record<string, DType>);
      const count = () => found.filter((one) => one.dtype === label && one.layout === layouts[layout]).length;
      for (let tries = 0; tries < 500 && count() < casesPerGroup; tries++)
        found.push(...list(caseOf(op, { ...randomRow(factors, random), ...group }, seed++, false)));
      const params = Array.from({ length: factors["params"] as number }, (_, i) => i);
      // Each named size in turn is the one above the block sizes.
      const turns = lettersOf(op).length > 0 ? largeSizes.length : 1;
      for (const turn of Array.from({ length: turns * params.length }, (_, i) => i)) {
        const large = { ...randomRow(factors, random), ...group, params: turn % params.length, leading: 0, count: 1 };
        found.push(...list(caseOf(op, large, 3000 + Math.floor(turn / params.length), true)));
      }
    }
  }
  return found;
}

const list = <T>(value: T | undefined): T[] => (value === undefined ? [] : [value]);

/** The case of a row, or undefined where the op refuses its parameters for these inputs (an axis that does not exist). */
function caseOf(op: AnyOp, row: Row, seed: number, large: boolean): Case | undefined {
  const variant = dtypeVariants(op)[row["variant"] as number] as Record<string, DType>;
  const blocked = blockedDims(op, variant);
  const params = { ...(row["params"] === 0 ? {} : op.cases?.[(row["params"] as number) - 1]) };
  const shapes = op.variadic ? variadicShapes(op, row, params, large, seed) : shapesOf(op, row, large, seed, blocked);
  if (blocked.includes("...") && shapes["x"]?.length === 0) return undefined;
  const names = Object.keys(shapes);
  const dtypes = Object.fromEntries(names.map((name) => [name, variant[op.variadic ? "x" : name] as DType]));
  const made: Case = { op, dtype: dtypeLabel(op, variant), layout: layouts[row["layout"] as number] as Layout, shapes, dtypes, params, seed, large };
  return accepts(made) ? made : undefined;
}

/** The last sizes of the inputs in nf4, of which a row has whole blocks. */
const blockedDims = (op: AnyOp, variant: Readonly<Record<string, DType>>): readonly string[] =>
  op.parsed.inputs.filter(({ name }) => variant[name] === "nf4").flatMap(({ forms }) => forms[0]?.at(-1) ?? []);

const wholeBlocks = (size: number): number => nf4Block * Math.ceil(size / nf4Block);

/** The size that a letter of the signature has in a case. */
export function sizeOf({ op, shapes }: Pick<Case, "op" | "shapes">, dim: string): number {
  for (const { name, forms } of op.parsed.inputs) {
    const [form = []] = forms;
    const place = form.indexOf(dim);
    const shape = shapes[name];
    if (place >= 0 && shape !== undefined) return shape[shape.length - form.length + place] ?? 0;
  }
  throw new Error(`${op.name} has no size ${dim}`);
}

function accepts(one: Case): boolean {
  const { op, shapes, dtypes, params } = one;
  const settings = { ...op.defaults, ...params };
  for (const [name, range] of Object.entries(op.values ?? {})) {
    const [kind, dim = ""] = range?.split(" ") ?? [];
    // No index is below 0; only a label that counts nothing can stand there.
    if (kind === "below" && sizeOf(one, dim) === 0 && elementsOf(shapes[name] ?? []) > 0 && !("ignoreIndex" in settings)) return false;
  }
  try {
    op.shape?.(shapes, settings);
    if (typeof op.output === "function") op.output(settings, Object.values(dtypes)[0] as DType);
    return true;
  } catch (error) {
    if (error instanceof LowrankError) return false;
    throw error;
  }
}

/** Leading axes; for ops without named sizes also a last axis, so that they are whole shapes. */
function leadingOf(op: AnyOp, row: Row, large: boolean): readonly number[] {
  if (large) return row["tail"] !== undefined ? [3, 6007] : op.sizes === undefined ? [2, 5] : [2];
  const leading = leadings[row["leading"] as number] as number[];
  if (row["tail"] === undefined) return leading;
  return row["tail"] === sizes.length ? leading : [...leading, sizes[row["tail"]] as number];
}

function shapesOf(op: AnyOp, row: Row, large: boolean, seed: number, blocked: readonly string[]): Record<string, readonly number[]> {
  const free = leadingOf(op, row, large);
  const leading = blocked.includes("...") && free.length > 0 ? [...free.slice(0, -1), wholeBlocks(free.at(-1) as number)] : free;
  const size = (dim: string, i: number): number => (blocked.includes(dim) ? wholeBlocks(freeSize(dim, i)) : freeSize(dim, i));
  const freeSize = (dim: string, i: number): number =>
    large ? (op.sizes?.[dim]?.large ?? (largeSizes[(i + seed) % largeSizes.length] as number)) : (smallSizes(op, dim)[row[dim] as number] as number);
  const letters = Object.fromEntries(lettersOf(op).map((dim, i) => [dim, size(dim, i)]));
  const shapes: Record<string, readonly number[]> = {};
  for (const spec of op.parsed.inputs) {
    const { present, form } = choicesOf(spec)[row[spec.name] ?? 0] as Choice;
    const first = shapes[op.parsed.inputs[0]?.name ?? ""] ?? [];
    if (!present) continue;
    if (form[0] === "~same") shapes[spec.name] = first;
    else if (form[0] === "~vector") shapes[spec.name] = first.slice(-1);
    else if (form[0] === "~scalar") shapes[spec.name] = [];
    else shapes[spec.name] = form.flatMap((dim) => (dim === "..." ? leading : [literalSize(dim) ?? (letters[dim] as number)]));
  }
  return shapes;
}

/** One to three inputs that differ along the op's axis. */
function variadicShapes(
  op: AnyOp,
  row: Row,
  params: Readonly<Record<string, unknown>>,
  large: boolean,
  seed: number,
): Record<string, readonly number[]> {
  const first = leadingOf(op, row, large);
  const wanted = Number(params["axis"] ?? (op.defaults as { axis?: number }).axis ?? 0);
  const axis = wanted < 0 ? wanted + first.length : wanted;
  const random = new Random(seed);
  const others = Array.from({ length: row["count"] as number }, () => first.map((size, i) => (i === axis ? random.pick(sizes) : size)));
  return Object.fromEntries([first, ...others].map((shape, i) => [`x${i}`, shape]));
}

/** `x[3, 17] w[33, 17] scale=2 seed=4`. */
export function describeCase({ shapes, dtypes, params, seed, large }: Case): string {
  const inputs = Object.entries(shapes).map(([name, shape]) => `${name}[${shape.join(", ")}]${dtypes[name] === "f32" ? "" : dtypes[name]}`);
  const settings = Object.entries(params).map(([name, value]) => `${name}=${JSON.stringify(value)}`);
  return [...inputs, ...settings, `seed=${seed}`, ...(large ? ["large"] : [])].join(" ");
}
