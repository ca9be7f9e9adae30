/** @file Tensors from and to safetensors files. */
import { fileError, quoted } from "../native/errors.js";
import { fromBytes } from "../tensor/create.js";
import type { DType } from "../tensor/dtype.js";
import { tensorFromFile } from "../tensor/file-tensor.js";
import { outsideScopes } from "../tensor/scope.js";
import type { Tensor } from "../tensor/tensor.js";
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
