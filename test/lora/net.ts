/** The network of test/fixtures/peft (scripts/peft_net.py), and its float64 forward pass with a bound for f32 arithmetic. */
import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { Linear, Module, relu, type Tensor, tensor } from "../../lib/index.js";
import { openSafetensors } from "../../lib/io/safetensors.js";

export const peftFixture = (name: string): string => fileURLToPath(new URL(`../fixtures/peft/${name}`, import.meta.url));

class Block extends Module {
  up = new Linear(16, 24);
  down = new Linear(24, 16, { bias: false });
  forward(x: Tensor): Tensor {
    return this.down.forward(relu(this.up.forward(x as Tensor<[number, 16], "f32">)));
  }
}

export class Net extends Module {
  layers = [new Block(), new Block()];
  head = new Linear(16, 10);
  forward(x: Tensor): Tensor {
    return this.head.forward(this.layers.reduce((value, layer) => layer.forward(value), x) as Tensor<[number, 16], "f32">);
  }
}

/** The network with the weights of the fixture, its inputs [7, 16], and all its tensors by name. */
export async function loadNet(): Promise<{ net: Net; x: Tensor; base: Map<string, Float32Array> }> {
  const file = await openSafetensors(peftFixture("base.safetensors"));
  const base = new Map<string, Float32Array>();
  for (const name of file.tensors.keys()) base.set(name, new Float32Array((await file.readBytes(name)).buffer as ArrayBuffer));
  await file.close();
  const net = await new Net().load(peftFixture("base.safetensors"), { strict: false });
  return { net, x: tensor(base.get("x") as Float32Array, [7, 16]), base };
}

/** What PEFT computed in float64, by case. */
export async function peftOutputs(file = "expected.json"): Promise<Record<string, number[]>> {
  return (JSON.parse(await readFile(peftFixture(file), "utf8")) as { outputs: Record<string, number[]> }).outputs;
}

/** A vector in float64 with a bound of what each element may be off in f32. */
export interface Bounded {
  readonly value: number[];
  readonly error: number[];
}

/** s·B·A of one layer in plain numbers, row-major. */
export interface Update {
  readonly a: ArrayLike<number>;
  readonly b: ArrayLike<number>;
  readonly rank: number;
  readonly scale: number;
}

const u = 2 ** -24;

/**
 * y = W·x + bias + s·B·(A·x) for one row. The error: what x was off, carried through W + s·B·A (roundings are independent, so they add in
 * squares), and the rounding of the two sums of I + R and I terms, each by the working bound 4·√K·u·(sum of absolute values).
 */
export function boundedLinear(x: Bounded, w: ArrayLike<number>, bias: ArrayLike<number> | undefined, update?: Update): Bounded {
  const inputs = x.value.length;
  const outputs = w.length / inputs;
  const { a = [], b = [], rank = 0, scale = 0 } = update ?? {};
  const factor = 8 * Math.sqrt(inputs + rank) * u;
  const rows = Array.from({ length: outputs }, (_, i) => {
    let y = bias?.[i] ?? 0;
    let size = Math.abs(y);
    let carried = 0;
    for (let j = 0; j < inputs; j++) {
      let change = 0;
      let changeSize = 0;
      for (let k = 0; k < rank; k++) {
        const product = scale * (b[i * rank + k] as number) * (a[k * inputs + j] as number);
        change += product;
        changeSize += Math.abs(product);
      }
      const weight = w[i * inputs + j] as number;
      y += (weight + change) * (x.value[j] as number);
      size += (Math.abs(weight) + changeSize) * Math.abs(x.value[j] as number);
      carried += ((weight + change) * (x.error[j] as number)) ** 2;
    }
    return { y, error: Math.sqrt(carried + (factor * size) ** 2) };
  });
  return { value: rows.map(({ y }) => y), error: rows.map(({ error }) => error) };
}

/** The whole network, row by row. */
export function boundedNet(base: ReadonlyMap<string, Float32Array>, updates: ReadonlyMap<string, Update> = new Map()): Bounded {
  const x = base.get("x") as Float32Array;
  const layer = (input: Bounded, path: string): Bounded =>
    boundedLinear(input, base.get(`${path}.weight`) as Float32Array, base.get(`${path}.bias`), updates.get(path));
  const rows = Array.from({ length: 7 }, (_, n): Bounded => {
    const start: Bounded = { value: [...x.subarray(n * 16, (n + 1) * 16)], error: new Array<number>(16).fill(0) };
    const hidden = [0, 1].reduce((input, i) => {
      const up = layer(input, `layers.${i}.up`);
      return layer({ value: up.value.map((v) => Math.max(v, 0)), error: up.error }, `layers.${i}.down`);
    }, start);
    return layer(hidden, "head");
  });
  return { value: rows.flatMap(({ value }) => value), error: rows.flatMap(({ error }) => error) };
}

/** The largest difference in units of the bound: at most 1. */
export function inBounds(actual: ArrayLike<number>, expected: ArrayLike<number>, bound: readonly number[]): number {
  if (actual.length !== expected.length || bound.length !== expected.length) return Number.POSITIVE_INFINITY;
  return Array.from(expected).reduce((most, value, i) => {
    const ratio = Math.abs((actual[i] as number) - value) / (bound[i] as number);
    return ratio <= most ? most : ratio; // NaN counts as largest
  }, 0);
}

/** One number after the other, the same everywhere: multiples of 1/64 in [−50/64, 50/64]. */
export const ramp = (count: number, seed = 0): Float32Array => Float32Array.from({ length: count }, (_, i) => ((((i + seed) * 37) % 101) - 50) / 64);
