/** @file Tensors whose elements come from an open file, read into native memory without passing through JavaScript. */
import { engine } from "../native/engine.js";
import { LowrankError } from "../native/errors.js";
import { type DType, dtypes } from "./dtype.js";
import { outsideScopes } from "./scope.js";
import { type Dyn, elementsOf } from "./shape.js";
import { empty, type Tensor } from "./tensor.js";

/**
 * A tensor with the elements that stand at `offset` of an open file (a descriptor), little-endian and row-major. No scope frees it.
 * @throws LowrankError IO_SHORT_READ, IO_FAILED, OUT_OF_MEMORY; ABORTED with the signal's reason as cause.
 */
export async function tensorFromFile<D extends DType>(
  file: number,
  offset: number,
  shape: readonly number[],
  dtype: D,
  signal?: AbortSignal,
): Promise<Tensor<Dyn, D>> {
  if (signal?.aborted) throw new LowrankError("ABORTED", "The read was aborted.", {}, signal.reason);
  const owner = engine().createOwner();
  const abort = (): void => engine().abortOwner(owner);
  signal?.addEventListener("abort", abort, { once: true });
  const made = outsideScopes(() => empty(shape, dtype, "file"));
  try {
    await engine().readFile(file, offset, elementsOf(shape) * dtypes[dtype].bytes, made.handle, 0, owner);
    return made;
  } catch (error) {
    made.dispose();
    if (signal?.aborted) throw new LowrankError("ABORTED", "The read was aborted.", {}, signal.reason);
    throw error;
  } finally {
    signal?.removeEventListener("abort", abort);
  }
}
