/** @file A worker that computes until it is told the number of rounds, or for ever. Posts the checksum of each round. */
import { parentPort, workerData } from "node:worker_threads";
import { matmul, softmax, sum } from "../../lib/functions.js";
import { tensor } from "../../lib/tensor/create.js";
import { tidy } from "../../lib/tensor/scope.js";

const { rounds, size } = (workerData as { data: { rounds: number; size: number } }).data;

async function main(): Promise<void> {
  const x = tensor(
    Float32Array.from({ length: size * size }, (_, i) => ((i * 7919) % 1000) / 1000 - 0.5),
    [size, size],
  );
  for (let round = 0; round < rounds; round++) {
    const y = tidy(() => sum(matmul(softmax(matmul(x, x)), x)));
    if (round === 0) parentPort?.postMessage({ started: true });
    const value = await y.item();
    parentPort?.postMessage({ value });
    y.dispose();
  }
}

main();
