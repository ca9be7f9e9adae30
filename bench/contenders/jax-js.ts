/** @file jax-js with its WebAssembly backend: the best one that runs in Node, where neither WebGPU nor workers of browsers exist: one thread. */
import { endUnavailable, optionalPackage, versionsOf } from "./answer.js";
import { runGemm, transposed } from "./gemm.js";

const contender = "jax-js";

/** Functions consume the arrays that they are given; `ref` gives another reference. */
interface JaxArray {
  readonly ref: JaxArray;
  reshape(shape: readonly number[]): JaxArray;
  data(): Promise<Float32Array>;
  dispose(): void;
}

interface Jax {
  init(...devices: readonly string[]): Promise<readonly string[]>;
  defaultDevice(device: string): string;
  jit(fn: (a: JaxArray, b: JaxArray) => JaxArray): (a: JaxArray, b: JaxArray) => JaxArray;
  blockUntilReady(array: JaxArray): Promise<unknown>;
  readonly numpy: { array(data: Float32Array): JaxArray; matmul(a: JaxArray, b: JaxArray): JaxArray };
}

const jax = await optionalPackage<Jax>(contender, "@jax-js/jax");
const devices = await jax.init("wasm");
if (!devices.includes("wasm"))
  endUnavailable({ contender, unavailable: `no WebAssembly backend; it has ${devices.join(", ")}`, remedy: "a Node with WebAssembly" });
jax.defaultDevice("wasm");

await runGemm({
  contender,
  threads: () => 1,
  versions: () => versionsOf("@jax-js/jax"),
  prepare: async (shape, xData, wData) => {
    const x = jax.numpy.array(xData).reshape([shape.m, shape.k]);
    const w = jax.numpy.array(transposed(wData, shape)).reshape([shape.k, shape.n]);
    const product = jax.jit((a, b) => jax.numpy.matmul(a, b));
    let y: JaxArray | undefined;
    return {
      multiply: async () => {
        y?.dispose();
        y = product(x.ref, w.ref);
        await jax.blockUntilReady(y.ref);
      },
      result: () => (y as JaxArray).ref.data(),
    };
  },
});
