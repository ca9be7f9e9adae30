/**
 * @file onnxruntime-node on its CPU provider: a model of one MatMul whose weight is a constant, so that it is packed when the session is made,
 * before the clock.
 */
import { optionalPackage, versionsOf } from "./answer.js";
import { type GemmShape, runGemm, transposed } from "./gemm.js";

const contender = "onnxruntime-node";

interface Session {
  run(feeds: Readonly<Record<string, unknown>>, outputs: Readonly<Record<string, unknown>>): Promise<unknown>;
}

interface Onnx {
  readonly InferenceSession: { create(model: Uint8Array, options: Readonly<Record<string, unknown>>): Promise<Session> };
  readonly Tensor: new (type: "float32", data: Float32Array, dims: readonly number[]) => unknown;
}

/** Protocol Buffers: a varint, a field that holds one, and a field that holds bytes. */
function varint(value: number): number[] {
  return value < 128 ? [value] : [(value % 128) + 128, ...varint(Math.floor(value / 128))];
}
const number = (field: number, value: number): Buffer => Buffer.from([...varint(field * 8), ...varint(value)]);
function block(field: number, ...parts: readonly (string | Uint8Array)[]): Buffer {
  const body = Buffer.concat(parts.map((part) => (typeof part === "string" ? Buffer.from(part) : part)));
  return Buffer.concat([Buffer.from([...varint(field * 8 + 2), ...varint(body.length)]), body]);
}

/** A ModelProto (onnx.proto, IR version 8, operators of version 13) of y = MatMul(x, w). `w` is [K, N]. */
function matMulModel({ m, n, k }: GemmShape, w: Float32Array): Uint8Array {
  const float = 1;
  const value = (name: string, sizes: readonly number[]): Buffer[] => {
    const shape = block(2, ...sizes.map((size) => block(1, number(1, size))));
    return [block(1, name), block(2, block(1, number(1, float), shape))];
  };
  const node = block(1, block(1, "x"), block(1, "w"), block(2, "y"), block(4, "MatMul"));
  const weight = block(5, number(1, k), number(1, n), number(2, float), block(8, "w"), block(9, new Uint8Array(w.buffer)));
  const graph = block(7, node, block(2, "product"), weight, block(11, ...value("x", [m, k])), block(12, ...value("y", [m, n])));
  return Buffer.concat([number(1, 8), block(8, number(2, 13)), graph]);
}

const onnx = await optionalPackage<Onnx>(contender, "onnxruntime-node");

await runGemm({
  contender,
  threads: (asked) => asked,
  versions: () => versionsOf("onnxruntime-node"),
  prepare: async (shape, x, w, threads) => {
    const options = { executionProviders: ["cpu"], intraOpNumThreads: threads, interOpNumThreads: 1 };
    const session = await onnx.InferenceSession.create(matMulModel(shape, transposed(w, shape)), options);
    const y = new Float32Array(shape.m * shape.n);
    const feeds = { x: new onnx.Tensor("float32", x, [shape.m, shape.k]) };
    const outputs = { y: new onnx.Tensor("float32", y, [shape.m, shape.n]) };
    return {
      multiply: async () => {
        await session.run(feeds, outputs);
      },
      result: async () => y,
    };
  },
});
