/** @file The checks of one case: output, gradients, repetition, memory. Each failure is one line that tells how to run it again. */
import type { AnyOp } from "../../lib/ops/op.js";
import type { Ref } from "../../lib/ops/reference.js";
import { memory } from "../../lib/tensor/device.js";
import { elementsOf, sameShape } from "../../lib/tensor/shape.js";
import { bothBounds, chainsOf, exactBound, flashBound, reductionBound, ulpBound } from "./bounds.js";
import { type Case, describeCase } from "./cases.js";
import { roundTo, sameNumber } from "./formats.js";
import { absolute, absoluteParams, difference, drawingOnce, type RefInputs, reference, settingsOf } from "./oracle.js";
import { inFloat64, type Plain } from "./plain.js";
import { plainOps } from "./plain-ops.js";
import { Random } from "./random.js";
import { forwardOnEngine, type Gradient, gradientsOnEngine, isTrained, type Output, paramsOf, testRecord } from "./run.js";
import { type Values, valuesOf } from "./values.js";

/** All elements are differenced up to this size, else so many of them; fewer where the oracle has much to multiply. */
const sampled = 64;
const sampledAtLeast = 8;
const workForAll = 50_000;

/** Runs a case. @returns one line for each thing that is wrong. */
export async function checkCase(one: Case): Promise<string[]> {
  testRecord();
  const before = memory().cpu;
  const values = valuesOf(one);
  const inputs: RefInputs = Object.fromEntries(
    Object.entries(one.shapes).map(([name, shape]) => [name, { shape, data: values.inputs[name] as Float64Array }]),
  );
  const failures: string[] = [];
  const output = await forwardOnEngine(one, values);
  const repeated = await forwardOnEngine(one, values);
  failures.push(...checkForward(one, inputs, output));
  if (!sameBits(output.bits, repeated.bits)) failures.push("forward: two runs of the same inputs differ");
  const trained = Object.keys(one.shapes).some((name) => isTrained(one.op, name, one.dtypes[name]));
  // What is computed from a 16-bit tensor has no gradient.
  if (trained && output.dtype === "f32") failures.push(...(await checkGradients(one, inputs, values, output)));
  const after = memory().cpu;
  if (after.tensors !== before.tensors || after.bytes !== before.bytes) {
    failures.push(`leaks ${after.tensors - before.tensors} tensors, ${after.bytes - before.bytes} bytes`);
  }
  return failures.map((failure) => `${failure}\n    ${reproduction(one)}`);
}

const sameBits = (a: Uint8Array, b: Uint8Array): boolean => a.length === b.length && a.every((byte, i) => byte === b[i]);

function reproduction(one: Case): string {
  const backend = process.env["LOWRANK_BACKEND"];
  const name = `${one.op.name} ${one.dtype} ${one.layout}`;
  return `${backend === undefined ? "" : `LOWRANK_BACKEND=${backend} `}npx vitest run test/ops.test.ts -t "${name}"  # ${describeCase(one)}`;
}

function worst(
  what: string,
  got: ArrayLike<number>,
  expected: ArrayLike<number>,
  bound: (i: number) => number,
  indexOf = (i: number): number => i,
): string[] {
  for (let i = 0; i < expected.length; i++) {
    const [y, want] = [got[i] as number, expected[i] as number];
    if (sameNumber(y, want) || Math.abs(y - want) <= bound(i)) continue;
    return [`${what}: element ${indexOf(i)} is ${y}, expected ${want} ± ${bound(i)} (off by ${y - want})`];
  }
  return [];
}

const largestOf = (values: ArrayLike<number>): number => Array.from(values).reduce((most, value) => Math.max(most, Math.abs(value)), 0);

const largestError = (a: ArrayLike<number>, b: ArrayLike<number>): number =>
  largestOf(Array.from(a, (value, i) => (sameNumber(value, b[i] as number) ? 0 : value - (b[i] as number))));

function plainOf(op: AnyOp) {
  const plain = plainOps[op.name];
  if (plain === undefined) throw new Error(`${op.name} has tolerance flash and needs a plain implementation in test/ops/plain-ops.ts`);
  return plain;
}

function checkForward(one: Case, inputs: RefInputs, output: Output): string[] {
  const { op } = one;
  const params = paramsOf(one);
  const expected = reference(op, inputs, params);
  if (!sameShape(output.shape, expected.shape)) return [`forward: the output is [${output.shape}], expected [${expected.shape}]`];
  const bound = forwardBound(one, inputs, expected, params);
  // An exact op gives the rounded result to the bit; all others may be off by their bound.
  const wanted = op.tolerance === "exact" ? expected.data.map((value) => roundTo(output.dtype, value)) : expected.data;
  return worst("forward", output.values, wanted, bound);
}

const always = (bound: number) => (): number => bound;

function forwardBound({ op, shapes }: Case, inputs: RefInputs, expected: Ref, params: Record<string, unknown>): (i: number) => number {
  switch (op.tolerance) {
    case "exact":
      return () => 0;
    case "ulp":
      return (i) => ulpBound(expected.data[i] as number);
    case "reduction": {
      const g = reference(op, absoluteInputs(inputs), absoluteParams(params));
      const chains = chainsOf(op, shapes, expected.shape);
      return (i) => reductionBound(chains, g.data[i] as number, expected.data[i] as number);
    }
    case "flash": {
      const run = (): Plain => plainOf(op).forward(inputs, settingsOf(op, inputs, params) as Record<string, unknown>);
      const plain = run();
      const { terms } = inFloat64(run);
      if (terms === undefined) return always(plainBound(plain, plain.data, expected.data));
      const error = Math.hypot(...terms.map((term, i) => term - (plain.terms?.[i] as number)));
      return always(flashBound(Math.max(error, largestError(plain.data, expected.data)), Math.max(plain.largest, largestOf(expected.data))));
    }
  }
}

const plainBound = (plain: Plain, found: ArrayLike<number>, expected: ArrayLike<number>): number =>
  flashBound(largestError(found, expected), Math.max(plain.largest, largestOf(expected)));

const absoluteInputs = (inputs: RefInputs): RefInputs => Object.fromEntries(Object.entries(inputs).map(([name, x]) => [name, absolute(x)]));

async function checkGradients(one: Case, inputs: RefInputs, values: Values, output: Output): Promise<string[]> {
  const dy = values.dy(output.values.length);
  const found = await gradientsOnEngine(one, "itself", values, dy, output.shape);
  const repeated = await gradientsOnEngine(one, "itself", values, dy, output.shape);
  const composed = one.op.composed === undefined ? undefined : await gradientsOnEngine(one, "composed", values, dy, output.shape);
  return [...found].flatMap(([name, gradient]) => {
    const again = (repeated.get(name) as Gradient).values;
    return [
      ...(gradient.clean ? [] : [`d${name}: what lies around the strided input got a gradient`]),
      ...(gradient.values.every((value, i) => Object.is(value, again[i])) ? [] : [`d${name}: two runs of the same inputs differ`]),
      ...checkGradient(one, inputs, name, gradient.values, composed?.get(name)?.values, dy, output.shape),
    ];
  });
}

/** Multiplications of one evaluation of the oracle, at most: the product of all distinct sizes. */
function workOf({ op, shapes }: Case): number {
  const sizes = new Map<string, number>();
  for (const { name, forms } of op.parsed.inputs) {
    const shape = shapes[name] ?? [];
    const named = (forms[0] ?? []).filter((dim) => /^[A-Z]$/.test(dim));
    named.forEach((dim, i) => sizes.set(dim, shape[shape.length - named.length + i] ?? 1));
    if (forms[0]?.[0] === "...") sizes.set("...", elementsOf(shape.slice(0, shape.length - named.length)));
  }
  return elementsOf([...sizes.values()]);
}

/** First, last, and others in between. */
function sampleOf(size: number, one: Case): number[] {
  const count = Math.max(sampledAtLeast, Math.min(sampled, Math.floor((sampled * workForAll) / Math.max(1, workOf(one)))));
  if (size <= count) return Array.from({ length: size }, (_, i) => i);
  const random = new Random(`sample ${one.seed}`);
  return [...new Set([0, size - 1, ...Array.from({ length: count - 2 }, () => random.below(size))])];
}

/** Compares a gradient with finite differences of the oracle, and with the gradient of the composition. */
function checkGradient(
  one: Case,
  inputs: RefInputs,
  name: string,
  gradient: Float64Array,
  composed: Float64Array | undefined,
  dy: Float64Array,
  outputShape: readonly number[],
): string[] {
  const { op, shapes } = one;
  const params = paramsOf(one);
  const elements = sampleOf(gradient.length, one);
  const evaluate = drawingOnce();
  const differences = elements.map((e) => difference(op, () => evaluate(op, inputs, params), inputs[name] as Ref, e, dy));
  const expected = differences.map(({ value }) => value);
  const got = elements.map((e) => gradient[e] as number);

  const chains = chainsOf(op, shapes, outputShape, name);
  const sized = absoluteInputs(inputs);
  const magnitude = (e: number): number =>
    difference(op, () => evaluate(op, sized, absoluteParams(params)), sized[name] as Ref, e, dy.map(Math.abs)).value;
  const isSum = op.tolerance === "reduction" || (op.tolerance === "exact" && chains > 1);
  const g = isSum ? elements.map(magnitude) : [];

  const bound = gradientBound(one, inputs, name, { elements, expected, dy, chains, g });
  const failures = worst(
    `d${name}`,
    got,
    expected,
    (i) => bound(i) + (differences[i]?.error ?? 0),
    (i) => elements[i] as number,
  );
  if (composed === undefined) return failures;
  // The error of the plain implementation over all elements.
  const flashOf = (): number => {
    const gradientOf = (): Plain => plainOf(op).gradient(inputs, dy, settingsOf(op, inputs, params) as Record<string, unknown>, name);
    const [plain, exact] = [gradientOf(), inFloat64(gradientOf)];
    return flashBound(largestError(plain.data, exact.data), Math.max(plain.largest, largestOf(exact.data)));
  };
  // Elements that were not sampled have about the G of those that were: twice the largest.
  const largest = bothBounds * (op.tolerance === "flash" ? flashOf() : reductionBound(chains, 2 * largestOf(g), 2 * largestOf(expected)));
  return [...failures, ...worst(`d${name} against the composition`, gradient, composed, () => largest)];
}

interface Sampled {
  readonly elements: readonly number[];
  readonly expected: readonly number[];
  readonly dy: Float64Array;
  readonly chains: number;
  /** Σ of absolute values for each sampled element, where the gradient is a sum. */
  readonly g: readonly number[];
}

function gradientBound({ op, params }: Case, inputs: RefInputs, name: string, { elements, expected, dy, chains, g }: Sampled): (i: number) => number {
  if (g.length > 0) return (i) => reductionBound(chains, g[i] as number, expected[i] as number);
  switch (op.tolerance) {
    case "ulp":
      // One output for each element: the slope may cross 0, so the size is that of dy.
      return (i) => ulpBound(Math.max(Math.abs(expected[i] as number), Math.abs(dy[elements[i] as number] as number)));
    case "flash": {
      const plain = plainOf(op).gradient(inputs, dy, settingsOf(op, inputs, params) as Record<string, unknown>, name);
      const found = elements.map((e) => plain.data[e] as number);
      return always(plainBound(plain, found, expected));
    }
    default:
      return (i) => exactBound(expected[i] as number);
  }
}
