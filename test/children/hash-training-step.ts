/** @file One forward and backward of a small network with everything that could depend on threads; prints SHA-256 of loss and gradients. */
import { createHash } from "node:crypto";
import {
  add,
  cast,
  crossEntropy,
  deviceInfo,
  dropout,
  gelu,
  linear,
  loraLinear,
  manualSeed,
  matmul,
  mul,
  Parameter,
  softmax,
  sum,
  type Tensor,
  tensor,
  transpose,
  valueAndGrad,
} from "../../lib/index.js";

/** Numbers in [−1, 1) that differ in all their bits. */
function numbers(shape: readonly number[], salt: number): Tensor {
  let state = salt;
  const size = shape.reduce((product, one) => product * one, 1);
  const data = Float32Array.from({ length: size }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 31 - 1;
  });
  return tensor(data, shape);
}

/** Ragged sizes, large enough to be shared between threads. */
async function step(rows: number, features: number, hidden: number, classes: number, rank: number): Promise<string> {
  const shapes = {
    x: [rows, features],
    a: [rank, features],
    m: [rank],
    b: [hidden, rank],
    bias: [hidden],
    head: [classes, hidden],
    headBias: [classes],
  };
  const parameters = Object.fromEntries(Object.entries(shapes).map(([name, shape], i) => [name, new Parameter(numbers(shape, i + 1))]));
  const at = (name: string): Tensor => (parameters[name] as Parameter).value;
  const frozen = cast(numbers([hidden, features], 99), "bf16");
  const labels = tensor(
    Int32Array.from({ length: rows }, (_, i) => (i % 7 === 3 ? -100 : (i * 31) % classes)),
    [rows],
  );
  manualSeed(42);
  const loss = valueAndGrad(() => {
    const h = gelu(loraLinear(at("x"), frozen, at("a"), at("b"), { bias: at("bias"), middle: at("m"), scale: 1.7, dropout: 0.3, site: "first" }));
    const logits: Tensor = linear(dropout(h, { p: 0.2, site: "second" }), at("head"), at("headBias"));
    const mixed = matmul(transpose(softmax(logits) as Tensor), mul(logits, at("headBias")) as Tensor);
    return add(crossEntropy(logits, labels), sum(mixed));
  });
  const hash = createHash("sha256");
  for (const tensor of [loss, ...Object.values(parameters).map(({ grad }) => grad as Tensor)])
    hash.update(new Uint8Array(((await tensor.data()) as Float32Array).buffer));
  for (const one of [loss, frozen, labels, ...Object.values(parameters)]) one.dispose();
  return hash.digest("hex");
}

async function main(): Promise<void> {
  const { threads, backend } = deviceInfo();
  const hashes: string[] = [];
  for (let run = 0; run < 2; run++) hashes.push(await step(37, 129, 65, 11, 5), await step(301, 515, 259, 33, 17));
  console.log(JSON.stringify({ threads, backend, hashes }));
}

main();
