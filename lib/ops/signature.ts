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
}

export interface Signature {
  readonly text: string;
  readonly inputs: readonly ArgumentSpec[];
  readonly outputs: readonly ArgumentSpec[];
  readonly saves: readonly ArgumentSpec[];
}

export function parseSignature(text: string): Signature {
  const [left = "", right = ""] = text.split("->");
  const [outputs = "", saves = ""] = right.split("; save ");
  return { text, inputs: parseArguments(left), outputs: parseArguments(outputs), saves: parseArguments(saves) };
}

function parseArguments(text: string): ArgumentSpec[] {
  return [...text.matchAll(/(\w+)((?:\|?\[[^\]]*\])+)(\??)/g)].map(([, name = "", forms = "", mark]) => ({
    name,
    forms: [...forms.matchAll(/\[([^\]]*)\]/g)].map(([, dims = ""]) => dims.split(",").flatMap((dim) => dim.trim() || [])),
    optional: mark === "?",
  }));
}

/** Sizes bound by the inputs of a call. */
export interface Bindings {
  leading: readonly number[] | undefined;
  readonly sizes: Map<string, number>;
}

type Shapes = Readonly<Record<string, readonly number[] | undefined>>;

/** Binds the sizes of all inputs. @throws LowrankError BAD_SHAPE naming the size that disagrees, with the signature and all shapes. */
export function bind(op: string, signature: Signature, shapes: Shapes): Bindings {
  const bindings: Bindings = { leading: undefined, sizes: new Map() };
  const origin = new Map<string, string>();
  for (const { name, forms } of signature.inputs) {
    const shape = shapes[name];
    if (shape === undefined) continue;
    const form = forms.find((dims) => dims.length === shape.length && !dims.includes("...")) ?? forms.find((dims) => fitsRank(dims, shape.length));
    if (form === undefined) {
      throw shapeError(op, signature, shapes, `${name} has rank ${shape.length}, expected ${forms.map(rankText).join(" or ")}`);
    }
    if (form[0] === "~") checkBroadcast(op, signature, shapes, name, shape);
    else bindOne(op, signature, shapes, bindings, origin, name, form, shape);
  }
  return bindings;
}

function bindOne(
  op: string,
  signature: Signature,
  shapes: Shapes,
  bindings: Bindings,
  origin: Map<string, string>,
  name: string,
  form: readonly string[],
  shape: readonly number[],
): void {
  const named = form[0] === "..." ? form.slice(1) : form;
  if (form[0] === "...") {
    const leading = shape.slice(0, shape.length - named.length);
    if (bindings.leading !== undefined && !sameShape(bindings.leading, leading)) {
      throw shapeError(
        op,
        signature,
        shapes,
        `leading sizes differ: ${shapeText(bindings.leading)} in ${origin.get("...")} but ${shapeText(leading)} in ${name}`,
      );
    }
    bindings.leading = leading;
    if (!origin.has("...")) origin.set("...", name);
  }
  named.forEach((dim, i) => {
    const size = shape[shape.length - named.length + i] as number;
    const literal = literalSize(dim);
    if (literal !== undefined && literal !== size)
      throw shapeError(op, signature, shapes, `axis ${i - named.length} of ${name} is ${size}, expected ${dim}`);
    const bound = bindings.sizes.get(dim);
    if (bound !== undefined && bound !== size) {
      throw shapeError(op, signature, shapes, `${dim} is ${bound} in ${origin.get(dim)} but ${size} in ${name}`);
    }
    bindings.sizes.set(dim, size);
    if (!origin.has(dim)) origin.set(dim, name);
  });
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
export function shapeOf({ forms }: ArgumentSpec, bindings: Bindings): number[] {
  return (forms[0] ?? []).flatMap((dim) => (dim === "..." ? (bindings.leading ?? []) : [literalSize(dim) ?? bindings.sizes.get(dim) ?? 0]));
}

const fitsRank = (dims: readonly string[], rank: number): boolean =>
  dims[0] === "~" || (dims[0] === "..." ? rank >= dims.length - 1 : rank === dims.length);

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
