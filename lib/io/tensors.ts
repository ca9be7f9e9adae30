/** @file Tensors from and to safetensors files. */
import { engine } from "../native/engine.js";
import { fileError, quoted } from "../native/errors.js";
import { fromBytes } from "../tensor/create.js";
import { type DType, dtypes } from "../tensor/dtype.js";
import { tensorFromFile } from "../tensor/file-tensor.js";
import { outsideScopes } from "../tensor/scope.js";
import { type Tensor, viewOf } from "../tensor/tensor.js";
import type { SafetensorsFile } from "./safetensors.js";
import type { SafetensorsDType } from "./safetensors-dtype.js";
import type { TensorSource } from "./safetensors-write.js";

const dtypeOfFile: Partial<Record<SafetensorsDType, DType>> = { F32: "f32", BF16: "bf16", F16: "f16", I32: "i32", U8: "u8" };
const fileDType: Record<DType, SafetensorsDType> = { f32: "F32", bf16: "BF16", f16: "F16", i32: "I32", u8: "U8" };

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
export async function readInto(file: SafetensorsFile, name: string, target: Tensor, signal?: AbortSignal): Promise<void> {
  const info = file.tensorOf(name, ["F32", "BF16", "F16"]);
  const dtype = dtypeOfFile[info.dtype] as DType;
  const { fd } = file;
  if (fd === undefined) throw new TypeError("readInto reads from files on disk");
  const [rows, cols] = [target.rows, target.cols];
  const rowBytes = Math.max(1, cols * dtypes[dtype].bytes);
  const step = Math.max(1, Math.floor(chunkBytes / rowBytes));
  for (let first = 0; first < rows; first += step) {
    const count = Math.min(step, rows - first);
    const part = await tensorFromFile(fd, info.offset + first * rowBytes, [count, cols], dtype, signal);
    const place = outsideScopes(() => viewOf(target, [count, cols], { offset: target.offset + first * cols, ld: cols }));
    try {
      engine().kernels.cast(place, part);
    } finally {
      place.dispose();
      part.dispose();
    }
  }
}

/** What a safetensors writer needs of a tensor. Its data is read when its turn comes. */
export const tensorSource = (name: string, tensor: Tensor): TensorSource => ({
  name,
  dtype: fileDType[tensor.dtype as DType],
  shape: tensor.shape,
  data: async () => {
    const data = await tensor.data();
    return new Uint8Array(data.buffer as ArrayBuffer);
  },
});
