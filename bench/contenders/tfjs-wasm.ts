/** @file TensorFlow.js with its WebAssembly backend, the fastest of those that need no native binding. In Node it has one thread. */
import { optionalPackage, versionsOf } from "./answer.js";
import { runGemm, transposed } from "./gemm.js";

const contender = "tfjs-wasm";

interface TfTensor {
  data(): Promise<Float32Array>;
  dispose(): void;
}

interface Tf {
  setBackend(name: string): Promise<boolean>;
  tensor2d(data: Float32Array, shape: readonly [number, number]): TfTensor;
  matMul(a: TfTensor, b: TfTensor): TfTensor;
}

const tf = await optionalPackage<Tf>(contender, "@tensorflow/tfjs");
await optionalPackage(contender, "@tensorflow/tfjs-backend-wasm");

await runGemm({
  contender,
  threads: () => 1,
  versions: () => versionsOf("@tensorflow/tfjs", "@tensorflow/tfjs-backend-wasm"),
  prepare: async (shape, xData, wData) => {
    if (!(await tf.setBackend("wasm"))) throw new Error("the wasm backend cannot start");
    // Only the form without transposition has a blocked kernel.
    const [x, w] = [tf.tensor2d(xData, [shape.m, shape.k]), tf.tensor2d(transposed(wData, shape), [shape.k, shape.n])];
    let y: TfTensor | undefined;
    return {
      // Kernels of this backend run inside the call.
      multiply: async () => {
        y?.dispose();
        y = tf.matMul(x, w);
      },
      result: () => (y as TfTensor).data(),
    };
  },
});
