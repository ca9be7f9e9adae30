/** @file Tensors from and to safetensors files. */
import { engine } from "../native/engine.js";
import { fileError, LowrankError, quoted } from "../native/errors.js";
import { fromBytes } from "../tensor/create.js";
import { type DType, dtypes, type QuantizedDType } from "../tensor/dtype.js";
import { tensorFromFile } from "../tensor/file-tensor.js";
import { Quantizer } from "../tensor/quantize.js";
import { outsideScopes } from "../tensor/scope.js";
import { bytesOf, type Tensor, viewOf } from "../tensor/tensor.js";
import type { SafetensorsFile } from "./safetensors.js";
import type { SafetensorsDType } from "./safetensors-dtype.js";
import type { TensorSource } from "./safetensors-write.js";

const dtypeOfFile: Partial<Record<SafetensorsDType, DType>> = { F32: "f32", BF16: "bf16", F16: "f16", I32: "i32", U8: "u8" };
const fileDType: Record<Exclude<DType, QuantizedDType>, SafetensorsDType> = { f32: "F32", bf16: "BF16", f16: "F16", i32: "I32", u8: "U8" };

/**
 * Reads a tensor as the type that it is stored in. No scope frees it.
 * @throws LowrankError TENSOR_MISSING, DTYPE_UNSUPPORTED, IO_SHORT_READ, IO_FAILED, OUT_OF_MEMORY, ABORTED
 */
export async function readTensor(file: SafetensorsFile, name: string, signal?: AbortSignal): Promise<Tensor> {
  const info = file.tensor(name);
  const dtype = dtypeOfFile[info.dtype];
  if (dtype === undefined) {
    throw fileError(
      "DTYPE_UNSUPPORTED",
      file.path,
      `tensor ${quoted(name)} has dtype ${info.dtype}; expected ${Object.keys(dtypeOfFile).join(", ")}`,
      {
        tensor: name,
        expected: Object.keys(dtypeOfFile),
        actual: info.dtype,
      },
    );
  }
  if (file.fd !== undefined) return tensorFromFile(file.fd, info.offset, info.shape, dtype, signal);
  const bytes = await file.readBytes(name);
  return outsideScopes(() => fromBytes(bytes, info.shape, dtype, "state"));
}

const chunkBytes = 16 * 2 ** 20;

/**
 * Reads a tensor into `target` [R, …] (f32, bf16 or f16), converted where the stored type is another one: a few rows at a time, so that no
 * second copy of the whole tensor is ever held.
 * @throws LowrankError as {@link readTensor}
 */
export function readInto(file: SafetensorsFile, name: string, target: Tensor, signal?: AbortSignal): Promise<void> {
  const { rows, cols } = target;
  return eachPiece(file, name, rows, cols, signal, (part, first) => {
    const place = outsideScopes(() => viewOf(target, [part.rows, cols], { offset: target.offset + first * cols, ld: cols }));
    try {
      engine().kernels.cast(place, part);
    } finally {
      place.dispose();
    }
  });
}

/**
 * Reads a matrix as a quantised one of the given shape, a few rows at a time: beside the result, a piece of the file and the scales of nf4 are
 * held. No scope frees it.
 * @throws LowrankError as {@link readTensor}; TENSOR_NONFINITE
 */
export async function readQuantized(
  file: SafetensorsFile,
  name: string,
  shape: readonly number[],
  dtype: QuantizedDType,
  signal?: AbortSignal,
): Promise<Tensor> {
  const quantizer = outsideScopes(() => new Quantizer(shape, dtype, "state"));
  try {
    await eachPiece(file, name, shape[0] as number, shape[1] as number, signal, async (part, first) => {
      quantizer.add(part, first);
      await engine().read(bytesOf(quantizer.result, 1), new Uint8Array(1));
    });
    return quantizer.finish();
  } catch (error) {
    quantizer.dispose();
    if (!(error instanceof LowrankError) || error.code !== "TENSOR_NONFINITE") throw error;
    const { index } = error.details;
    const problem = `row ${index} of tensor ${quoted(name)} holds NaN, infinity or a number beyond 2^126, which cannot be quantised. The training that wrote it has diverged, or the file is damaged.`;
    throw fileError("TENSOR_NONFINITE", file.path, problem, { tensor: name, index });
  }
}

/** Reads a matrix a few rows at a time, as the type that it is stored in. */
async function eachPiece(
  file: SafetensorsFile,
  name: string,
  rows: number,
  cols: number,
  signal: AbortSignal | undefined,
  use: (part: Tensor, first: number) => void | Promise<void>,
): Promise<void> {
  const info = file.tensorOf(name, ["F32", "BF16", "F16"]);
  const dtype = dtypeOfFile[info.dtype] as DType;
  const { fd } = file;
  if (fd === undefined) throw new TypeError("pieces are read from files on disk");
  const rowBytes = Math.max(1, cols * dtypes[dtype].bytes);
  const step = Math.max(1, Math.floor(chunkBytes / rowBytes));
  for (let first = 0; first < rows; first += step) {
    const count = Math.min(step, rows - first);
    const part = await tensorFromFile(fd, info.offset + first * rowBytes, [count, cols], dtype, signal);
    try {
      await use(part, first);
    } finally {
      part.dispose();
    }
  }
}

/** What a safetensors writer needs of a tensor, which is not a quantised one. Its data is read when its turn comes. */
export const tensorSource = (name: string, tensor: Tensor): TensorSource => ({
  name,
  dtype: fileDType[tensor.dtype as keyof typeof fileDType],
  shape: tensor.shape,
  data: async () => {
    const data = await tensor.data();
    return new Uint8Array(data.buffer as ArrayBuffer);
  },
});
