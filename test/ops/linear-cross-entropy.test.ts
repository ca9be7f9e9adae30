/** @file linearCrossEntropy over several chunks of rows, and the memory it needs. */
import { expect, it } from "vitest";
import { Parameter } from "../../lib/autograd/parameter.js";
import { cast, linearCrossEntropy, memory, resetPeakMemory, type Tensor, tensor, valueAndGrad, zeros } from "../../lib/index.js";
import { Random } from "./random.js";

it("in chunks of rows gives loss and gradients of the whole", async () => {
  // A vocabulary so large that eight rows are a chunk: 20 rows are two chunks and a half.
  const [rows, vocabulary, size] = [20, 1_100_000, 2];
  const random = new Random("chunks");
  const x = Float64Array.from({ length: rows * size }, () => Math.fround(random.normal()));
  const w = Float64Array.from({ length: vocabulary * size }, () => Math.fround(random.normal()));
  const labels = Int32Array.from({ length: rows }, (_, r) => (r === 9 ? -100 : random.below(vocabulary)));
  const counted = rows - 1;

  let loss = 0;
  const dx = new Float64Array(x.length);
  const dw = new Float64Array(w.length);
  labels.forEach((label, r) => {
    if (label === -100) return;
    const [a, b] = [x[2 * r] as number, x[2 * r + 1] as number];
    let total = 0;
    for (let c = 0; c < vocabulary; c++) total += Math.exp(a * (w[2 * c] as number) + b * (w[2 * c + 1] as number));
    for (let c = 0; c < vocabulary; c++) {
      const [wa, wb] = [w[2 * c] as number, w[2 * c + 1] as number];
      const slope = (Math.exp(a * wa + b * wb) / total - (c === label ? 1 : 0)) / counted;
      if (c === label) loss += (Math.log(total) - (a * wa + b * wb)) / counted;
      dx[2 * r] = (dx[2 * r] as number) + slope * wa;
      dx[2 * r + 1] = (dx[2 * r + 1] as number) + slope * wb;
      dw[2 * c] = (dw[2 * c] as number) + slope * a;
      dw[2 * c + 1] = (dw[2 * c + 1] as number) + slope * b;
    }
  });

  const [px, pw] = [
    new Parameter(tensor(x, [rows, size], { dtype: "f32" }) as Tensor),
    new Parameter(tensor(w, [vocabulary, size], { dtype: "f32" }) as Tensor),
  ];
  const target = tensor(labels, [rows]) as Tensor<[number], "i32">;
  const found = valueAndGrad(() => linearCrossEntropy(px.value, pw.value, target));
  expect(Math.abs((await found.item()) - loss)).toBeLessThanOrEqual(16 * 2 ** -24 * loss);
  const near = (got: Float32Array, wanted: Float64Array, largest: number) =>
    got.forEach((value, i) => {
      if (Math.abs(value - (wanted[i] as number)) > largest) expect.unreachable(`element ${i} is ${value}, expected ${wanted[i]}`);
    });
  // The bound of a sum of K products, 4·√K·2^-24·Σ|terms| (bounds.ts); the terms of a row of dx add up to some |w| / counted. dw: a few roundings.
  near((await px.grad?.data()) as Float32Array, dx, (4 * Math.sqrt(vocabulary) * 2 ** -24 * 4) / counted);
  near((await pw.grad?.data()) as Float32Array, dw, (16 * 2 ** -24) / counted);
  for (const one of [px, pw, target, found]) one.dispose();
});

it("of 49,152 words stays below twice its inputs, forward and backward", async () => {
  const start = memory().cpu.bytes;
  const x = new Parameter(zeros([1024, 576]) as Tensor);
  const wide = zeros([49_152, 576]);
  const w = cast(wide, "bf16");
  wide.dispose();
  const labels = zeros([1024], { dtype: "i32" });
  const inputBytes = memory().cpu.bytes - start;
  resetPeakMemory();
  const loss = valueAndGrad(() => linearCrossEntropy(x.value, w as Tensor<[number, number], "bf16">, labels));
  expect(await loss.item()).toBeCloseTo(Math.log(49_152), 4);
  expect(memory().cpu.peakBytes - start).toBeLessThan(2 * inputBytes);
  for (const one of [x, w, labels, loss]) one.dispose();
});
