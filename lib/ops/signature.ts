/**
 * @file The signature of an op: names, sizes and options of its tensors in one string.
 *
 *     x[..., I], w[O, I], bias[O]? -> y[..., O]; save h[..., R]
 *
 * `...` is any number of leading axes, the same wherever it stands; a capital is a size, the same wherever it stands; `?` marks an optional
 * input; a number is that very size; `m[R]|[R, R]` allows two forms; `b[~]` is broadcast to the first input: of its shape, its trailing
 * vector, or one element. An optional save `gx[..., I]?` is made only when the gradient of the input `x` is wanted.
 * The string gives the shape rule, the sizes of outputs and saves, the error text, and the sample sizes of the generated tests.
 */
import { LowrankError } from "../native/errors.js";
import { sameShape, shapeText } from "../tensor/shape.js";

type Trim<S extends string> = S extends ` ${infer T}` | `,${infer T}` | `|${infer T}` | `?${infer T}` ? Trim<T> : S;
type Names<L extends string> =
  Trim<L> extends `[${string}]${infer R}` ? Names<R> : Trim<L> extends `${infer N}[${string}]${infer R}` ? N | Names<R> : never;

/** Names of the inputs in a signature string. */
export type InputNames<S extends string> = S extends `${infer L}->${string}` ? Names<L> : never;
/** Names of outputs and saves. */
export type OutputNames<S extends string> = S extends `${string}->${infer R}` ? (R extends `${infer Y};${string}` ? Names<Y> : Names<R>) : never;
export type SaveNames<S extends string> = S extends `${string}; save ${infer V}` ? Names<V> : never;

export interface ArgumentSpec {
  readonly name: string;
  /** Its allowed forms; each a list of "...", "~" and size names. */
  readonly forms: readonly (readonly string[])[];
  readonly optional: boolean;
  /** The forms as numbers, for binding. */
  readonly patterns: readonly Pattern[];
}

interface Pattern {
  /** Begins with "...". */
  readonly leading: boolean;
  /** Is "~". */
  readonly broadcast: boolean;
  /** Each further size: a literal, or -1 - the place of its name in `Signature.names`. */
  readonly dims: readonly number[];
}

export interface Signature {
  readonly text: string;
  /** The names of all sizes. */
  readonly names: readonly string[];
  readonly inputs: readonly ArgumentSpec[];
  readonly outputs: readonly ArgumentSpec[];
  readonly saves: readonly ArgumentSpec[];
}

export function parseSignature(text: string): Signature {
  const [left = "", right = ""] = text.split("->");
  const [outputs = "", saves = ""] = right.split("; save ");
  const names: string[] = [];
  return { text, names, inputs: parseArguments(left, names), outputs: parseArguments(outputs, names), saves: parseArguments(saves, names) };
}

function parseArguments(text: string, names: string[]): ArgumentSpec[] {
  return [...text.matchAll(/(\w+)((?:\|?\[[^\]]*\])+)(\??)/g)].map(([, name = "", sizes = "", mark]) => {
    const forms = [...sizes.matchAll(/\[([^\]]*)\]/g)].map(([, dims = ""]) => dims.split(",").flatMap((dim) => dim.trim() || []));
    return { name, forms, optional: mark === "?", patterns: forms.map((form) => patternOf(form, names)) };
  });
}

function patternOf(form: readonly string[], names: string[]): Pattern {
  const place = (dim: string): number => {
    if (!names.includes(dim)) names.push(dim);
    return -1 - names.indexOf(dim);
  };
  const [leading, broadcast] = [form[0] === "...", form[0] === "~"];
  return { leading, broadcast, dims: form.slice(leading || broadcast ? 1 : 0).map((dim) => literalSize(dim) ?? place(dim)) };
}

/** Sizes bound by the inputs of a call: of each name, in the order of `Signature.names`. */
export interface Bindings {
  leading: readonly number[] | undefined;
  readonly sizes: (number | undefined)[];
}

type Shapes = Readonly<Record<string, readonly number[] | undefined>>;

/** Binds the sizes of all inputs. @throws LowrankError BAD_SHAPE naming the size that disagrees, with the signature and all shapes. */
export function bind(op: string, signature: Signature, shapes: Shapes): Bindings {
  const bindings: Bindings = { leading: undefined, sizes: [] };
  for (const spec of signature.inputs) {
    const shape = shapes[spec.name];
    if (shape === undefined) continue;
    const pattern = patternFor(spec, shape.length);
    if (pattern === undefined) {
      throw shapeError(op, signature, shapes, `${spec.name} has rank ${shape.length}, expected ${spec.forms.map(rankText).join(" or ")}`);
    }
    if (pattern.broadcast) checkBroadcast(op, signature, shapes, spec.name, shape);
    else bindOne(op, signature, shapes, bindings, spec.name, pattern, shape);
  }
  return bindings;
}

/** The form for this rank; one that names every axis goes before one with "...". */
function patternFor({ patterns }: ArgumentSpec, rank: number): Pattern | undefined {
  let found: Pattern | undefined;
  for (const pattern of patterns) {
    const { leading, broadcast, dims } = pattern;
    if (!leading && !broadcast && rank === dims.length) return pattern;
    if (broadcast || (leading && rank >= dims.length)) found ??= pattern;
  }
  return found;
}

/** The first `count` sizes; slice() of a frozen array is slow beside an op. */
function firstSizes(shape: readonly number[], count: number): number[] {
  const sizes: number[] = [];
  for (let i = 0; i < count; i++) sizes.push(shape[i] as number);
  return sizes;
}

function bindOne(
  op: string,
  signature: Signature,
  shapes: Shapes,
  bindings: Bindings,
  name: string,
  { leading, dims }: Pattern,
  shape: readonly number[],
): void {
  const start = shape.length - dims.length;
  if (leading) {
    bindings.leading ??= firstSizes(shape, start);
    if (bindings.leading.length !== start || !bindings.leading.every((size, i) => size === shape[i])) {
      const [before, where, here] = [shapeText(bindings.leading), originOf(signature, shapes, "..."), shapeText(shape.slice(0, start))];
      throw shapeError(op, signature, shapes, `leading sizes differ: ${before} in ${where} but ${here} in ${name}`);
    }
  }
  for (let i = 0; i < dims.length; i++) {
    const dim = dims[i] as number;
    const size = shape[start + i] as number;
    if (dim >= 0) {
      if (dim !== size) throw shapeError(op, signature, shapes, `axis ${i - dims.length} of ${name} is ${size}, expected ${dim}`);
      continue;
    }
    const bound = bindings.sizes[-1 - dim];
    if (bound !== undefined && bound !== size) {
      const letter = signature.names[-1 - dim] as string;
      throw shapeError(op, signature, shapes, `${letter} is ${bound} in ${originOf(signature, shapes, letter)} but ${size} in ${name}`);
    }
    bindings.sizes[-1 - dim] = size;
  }
}

/** The first input whose form has this size. */
function originOf({ inputs }: Signature, shapes: Shapes, dim: string): string | undefined {
  return inputs.find((spec) => {
    const shape = shapes[spec.name];
    const pattern = shape && patternFor(spec, shape.length);
    return pattern !== undefined && spec.forms[spec.patterns.indexOf(pattern)]?.includes(dim);
  })?.name;
}

function checkBroadcast(op: string, signature: Signature, shapes: Shapes, name: string, shape: readonly number[]): void {
  const first = signature.inputs[0]?.name ?? "";
  const base = shapes[first] ?? [];
  const vector = shape.length === 1 && base.length > 0 && shape[0] === base[base.length - 1];
  if (sameShape(shape, base) || vector || shape.length === 0) return;
  const allowed = base.length > 0 ? `${shapeText(base)}, ${shapeText(base.slice(-1))} or []` : "[]";
  throw shapeError(op, signature, shapes, `${name} is ${shapeText(shape)}, which is not broadcast to ${first}: it may be ${allowed}`);
}

/** The size that a dimension written as a number stands for. */
export const literalSize = (dim: string): number | undefined => (/^\d+$/.test(dim) ? Number(dim) : undefined);

/** The shape of an output or save under the bindings. */
export function shapeOf({ patterns: [pattern] }: ArgumentSpec, { leading, sizes }: Bindings): number[] {
  const shape = pattern?.leading && leading !== undefined ? [...leading] : [];
  for (const dim of pattern?.dims ?? []) shape.push(dim >= 0 ? dim : (sizes[-1 - dim] ?? 0));
  return shape;
}

const rankText = (dims: readonly string[]): string => (dims[0] === "..." ? `at least ${dims.length - 1}` : String(dims.length));

/** A BAD_SHAPE error: what is wrong, the signature, every shape. */
export function shapeError(op: string, signature: Signature, shapes: Shapes, what: string): LowrankError {
  const given = signature.inputs.flatMap(({ name }) => (shapes[name] === undefined ? [] : [`  ${name}: ${shapeText(shapes[name])}`]));
  return new LowrankError("BAD_SHAPE", `${op}: ${what}\n  ${signature.text}\n${given.join("\n")}`, {
    op,
    signature: signature.text,
    shapes: { ...shapes },
  });
}
