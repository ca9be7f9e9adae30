/** @file The native engine of this environment (main thread or worker): loaded on first use, one for its lifetime. */
import { totalmem } from "node:os";
import { debugLevel, requestedBackend, requestedBudget, requestedThreads } from "./env.js";
import type { ErrorCode } from "./error-codes.js";
import { LowrankError } from "./errors.js";
import type { Kernels } from "./kernels.js";
import { loadNative } from "./load.js";
import type { NativeDescription, NativeFailure, NativeMemory, NativeModule, NativeRecording, ProfileRow } from "./native-module.js";

/** A matrix in a native buffer, as kernels take it: `rows` × `cols` elements, `ld` elements from one row to the next. */
export interface View {
  readonly handle: number;
  /** Position in the native DType enumeration. */
  readonly dtypeCode: number;
  /** In elements. */
  readonly offset: number;
  readonly rows: number;
  readonly cols: number;
  readonly ld: number;
}

/** Commands of one owner are stopped together. 0 is the owner of ordinary calls; it cannot be aborted. */
export type OwnerId = number;

const defaultBudgetShare = 0.8;

export class Engine {
  readonly description: NativeDescription;
  readonly backend: string;
  /** Queues kernels; one function per line of kernels.def. Throws OUT_OF_MEMORY when a kernel's scratch memory does not fit. */
  readonly kernels: Kernels;
  /** The owner of the commands that are submitted now. */
  owner: OwnerId = 0;
  readonly #native: NativeModule;
  #recording = false;

  constructor(native: NativeModule) {
    this.#native = native;
    this.description = native.describe();
    this.backend = chooseBackend(native, this.description);
    this.kernels = this.#bindKernels();
    const limit = process.constrainedMemory?.() || Number.POSITIVE_INFINITY;
    this.setBudget(requestedBudget() ?? Math.floor(Math.min(totalmem(), limit) * defaultBudgetShare));
    if (debugLevel() >= 1) {
      const { cpu, threads, version } = this.description;
      process.stderr.write(`lowrank ${version}: ${this.backend} on ${cpu}, ${threads} threads, budget ${this.memory().budgetBytes} bytes\n`);
    }
  }

  /**
   * Takes a buffer from the pool. `state`: weights and optimizer state, which keep their bytes when a command fails. `external`: its life
   * hangs on a JavaScript handle, so V8 hears of its size. `fresh`: memory that no queued command can touch, for file reads.
   */
  allocate(bytes: number, kind: { state?: boolean; external?: boolean; fresh?: boolean } = {}): number {
    const handle = this.#native.allocate(bytes, kind.state ?? false, kind.external ?? false, kind.fresh ?? false);
    if (handle === 0) throw this.#outOfMemory(bytes);
    return handle;
  }

  release(handle: number): void {
    this.#native.release(handle);
  }

  /** Copies `data` to a buffer, in order with the commands around it. The data may change as soon as this returns. */
  write(handle: number, byteOffset: number, data: Uint8Array): void {
    this.#refuseWhileRecording("written");
    this.#native.write(handle, byteOffset, data);
  }

  /** Copies a view, rows packed, to `destination` (exactly its bytes) once all commands before have run. */
  async read(view: View, destination: Uint8Array): Promise<void> {
    this.#refuseWhileRecording("read");
    putView(this.#native.args, 0, view);
    return this.#settled(this.#native.read(destination, this.owner));
  }

  /** Resolves when every command submitted before has run; rejects with a failure that nobody has awaited yet. */
  async synchronize(): Promise<void> {
    return this.#settled(this.#native.fence());
  }

  /** Reads exactly `bytes` at `fileOffset` of an open file into a `fresh` buffer, on the I/O thread. */
  async readFile(file: number, fileOffset: number, bytes: number, handle: number, byteOffset: number, owner: OwnerId): Promise<void> {
    return this.#settled(this.#native.readFile(file, fileOffset, bytes, handle, byteOffset, owner));
  }

  /** Runs `fn` with its kernels listed instead of run, for `replay`. Its results are not to be had: kernels write them elsewhere. */
  record(fn: () => void): NativeRecording {
    this.#native.beginRecording();
    this.#recording = true;
    try {
      fn();
    } catch (error) {
      this.forgetRecording(this.#endRecording().id);
      throw error;
    }
    return this.#endRecording();
  }

  #endRecording(): NativeRecording {
    this.#recording = false;
    return this.#native.endRecording();
  }

  /**
   * Takes the arena for recordings of up to `bytes`, which share it. Between the reservation for a group of recordings and its last replay
   * nothing is moved, so nothing needs to be waited for. @throws LowrankError OUT_OF_MEMORY
   */
  reserveArena(bytes: number): void {
    if (!this.#native.reserveArena(bytes)) throw this.#outOfMemory(bytes);
  }

  /** Queues everything that was recorded. The buffers made inside lie in the arena, which is taken now where none that is large enough is. */
  replay({ id, bytes }: NativeRecording): void {
    if (this.#native.replay(id, this.owner) !== undefined) throw this.#outOfMemory(bytes);
  }

  forgetRecording(id: number): void {
    this.#native.forgetRecording(id);
  }

  #refuseWhileRecording(what: string): void {
    if (!this.#recording) return;
    throw new LowrankError(
      "NOT_RECORDABLE",
      `The elements of a tensor are ${what} inside of a function that is recorded to be run again: the second time they would be the same. Make such ` +
        "tensors before, and read results afterwards.",
    );
  }

  createOwner(): OwnerId {
    return this.#native.createOwner();
  }

  /** Stops all commands of an owner, queued or running; what they would have made rejects with ABORTED. */
  abortOwner(owner: OwnerId): void {
    this.#native.abortOwner(owner);
  }

  /** Runs `fn` with its commands belonging to `owner`. */
  as<T>(owner: OwnerId, fn: () => T): T {
    const before = this.owner;
    this.owner = owner;
    try {
      return fn();
    } finally {
      this.owner = before;
    }
  }

  memory(): NativeMemory {
    return this.#native.memory();
  }

  resetPeak(): void {
    this.#native.resetPeak();
  }

  setBudget(bytes: number): void {
    this.#native.setBudget(bytes);
  }

  /** Starts measuring every command; call when the stream is synchronized. */
  startProfile(): void {
    this.#native.startProfile();
  }

  stopProfile(): ProfileRow[] {
    return this.#native.stopProfile();
  }

  #bindKernels(): Kernels {
    const native = this.#native;
    const { args } = native;
    const bound: Record<string, (...values: unknown[]) => void> = Object.create(null);
    this.description.kernels.forEach(({ name, parameters }, index) => {
      const isView = parameters.split(",").map((parameter) => !/^\s*(f32|i32|u64|bool)\s/.test(parameter));
      bound[name] = (...values) => {
        let at = 0;
        for (let i = 0; i < isView.length; i++) {
          if (isView[i] === true) {
            putView(args, at, values[i] as View | undefined);
            at += viewNumbers;
          } else {
            args[at++] = Number(values[i]);
          }
        }
        if (native.submit(index, this.owner) !== undefined) throw this.#outOfMemory(undefined, name);
      };
    });
    return bound as unknown as Kernels;
  }

  #outOfMemory(bytes: number | undefined, kernel?: string): LowrankError {
    const { bytes: used, reservedBytes, budgetBytes, processBytes, buffers } = this.memory();
    const what = bytes === undefined ? `The scratch memory of ${kernel} does` : `${bytes} bytes do`;
    return new LowrankError(
      "OUT_OF_MEMORY",
      `${what} not fit: ${used} bytes are in ${buffers} tensors here, the process holds ${processBytes} of its budget of ${budgetBytes} bytes. ` +
        "Dispose tensors (tidy, using, dispose), use smaller batches, or raise the budget (memoryBudget of loadModel, LOWRANK_MEMORY_BUDGET).",
      { requestedBytes: bytes, kernel, usedBytes: used, reservedBytes, processBytes, budgetBytes, buffers },
    );
  }

  async #settled(promise: Promise<void>): Promise<void> {
    try {
      await promise;
    } catch (failure) {
      throw toError(failure as NativeFailure);
    }
  }
}

/** How many numbers a view is, as native code reads them. */
const viewNumbers = 6;

function putView(args: Float64Array, at: number, view: View | undefined): void {
  if (view === undefined) {
    args[at] = 0;
    return;
  }
  args[at] = view.handle;
  args[at + 1] = view.dtypeCode;
  args[at + 2] = view.offset;
  args[at + 3] = view.rows;
  args[at + 4] = view.cols;
  args[at + 5] = view.ld;
}

function chooseBackend(native: NativeModule, { backends, bestBackend }: NativeDescription): string {
  const requested = requestedBackend();
  const chosen = native.chooseBackend(requested ?? bestBackend);
  if (chosen !== null && (requested === undefined || chosen === requested)) return chosen;
  const found = chosen === null ? "is not one that this machine can run" : `differs from ${chosen}, which this process already uses`;
  throw new LowrankError("BACKEND_UNKNOWN", `LOWRANK_BACKEND=${requested} ${found}. Available: ${backends.join(", ")}.`, {
    expected: backends,
    actual: requested,
  });
}

/** errno → code, for the few that have their own. */
const ioCodes: Readonly<Record<number, ErrorCode>> = { 2: "IO_NOT_FOUND", 13: "IO_ACCESS", 28: "IO_NO_SPACE" };

function toError(failure: NativeFailure): LowrankError {
  const { kernel, code, found, at, limit } = failure;
  switch (code) {
    case "cancelled":
      return new LowrankError("ABORTED", "The computation was aborted.");
    case "index_out_of_range":
      return new LowrankError("INDEX_OUT_OF_RANGE", `${kernel}: index ${found} at position ${at} is outside of 0 … ${limit - 1}`, {
        kernel,
        expected: `0 … ${limit - 1}`,
        actual: found,
        offset: at,
      });
    case "not_finite":
      return new LowrankError(
        "TENSOR_NONFINITE",
        `${kernel}: row ${at} of the weight holds NaN, infinity or a number beyond 2^126, which cannot be quantised.`,
        { kernel, index: at },
      );
    case "not_converged":
      return new LowrankError("NOT_CONVERGED", `${kernel}: did not converge; does the matrix hold NaN or infinity?`, { kernel });
    case "io_error":
      return new LowrankError(ioCodes[found] ?? "IO_FAILED", `The file could not be read (errno ${found}).`, { errno: found });
    case "io_short_read":
      return new LowrankError("IO_SHORT_READ", `The file ended at byte ${at}: ${found} of ${limit} bytes came. It changed while it was read.`, {
        expected: limit,
        actual: found,
        offset: at,
      });
    default:
      return new LowrankError("NATIVE_FAILURE", `${kernel}: ${String((failure as { message?: string }).message ?? code)}`, { kernel }, failure);
  }
}

let instance: Engine | undefined;

/** The engine of this environment. The first call loads the addon. */
export function engine(): Engine {
  if (instance !== undefined) return instance;
  requestedThreads(); // both are checked before native code reads them
  requestedBudget();
  instance = new Engine(loadNative());
  return instance;
}
