/**
 * @file `npx tsx bench/eager.ts`: what the JavaScript of an op costs, in microseconds: the shortest of many rounds of submitting a chain of
 * small ops, forward alone and with the walk back. The kernels run meanwhile on the stream's thread. The answer of each chain is checked first.
 */
import { add, loraLinear, Parameter, rmsNorm, sum, synchronize, type Tensor, tensor, tidy, valueAndGrad } from "lowrank";

const length = 100;
const rounds = 200;
const size = 8;
const x = new Parameter(tensor(new Float32Array(size).fill(1), [1, size]));
const zero = tensor(new Float32Array(size), [1, size]);
const gain = tensor(new Float32Array(size).fill(1), [size]);
const identity = tensor(
  Float32Array.from({ length: size * size }, (_, i) => (i % (size + 1) === 0 ? 1 : 0)),
  [size, size],
);
const a = new Parameter(tensor(new Float32Array(2 * size).fill(1), [2, size]));
const b = new Parameter(tensor(new Float32Array(size * 2), [size, 2]));

/** Chains that give their input back: eight ones. */
const chains: Readonly<Record<string, (y: Tensor) => Tensor>> = {
  add: (y) => add(y, zero as Tensor),
  rmsNorm: (y) => rmsNorm(y, gain as Tensor, { eps: 0 }),
  loraLinear: (y) => loraLinear(y as never, identity as never, a.value as never, b.value as never, { scale: 1 }) as Tensor,
};

const chainOf = (step: (y: Tensor) => Tensor): Tensor => {
  let y: Tensor = x.value;
  for (let i = 0; i < length; i++) y = step(y);
  return sum(y);
};

async function shortest(run: () => Tensor): Promise<number> {
  let best = Number.POSITIVE_INFINITY;
  for (let round = 0; round < rounds; round++) {
    const started = performance.now();
    const result = run();
    best = Math.min(best, performance.now() - started);
    result.dispose();
    for (const parameter of [x, a, b]) parameter.clearGradient();
    await synchronize();
  }
  return (best / length) * 1000;
}

for (const [name, step] of Object.entries(chains)) {
  const answer = await tidy(() => chainOf(step)).item();
  if (Math.abs(answer - size) > 1e-4) throw new Error(`${name}: ${answer} for ${size}`);
  const forward = await shortest(() => tidy(() => chainOf(step)));
  const both = await shortest(() => valueAndGrad(() => chainOf(step)));
  console.log(`${name.padEnd(10)} forward ${forward.toFixed(2)} µs, with its gradient ${both.toFixed(2)} µs an op`);
}
