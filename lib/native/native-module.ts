/** @file What the addon exports (native/bind/module.cpp). Used by engine.ts only. */

export interface KernelLine {
  readonly name: string;
  /** As in kernels.def: "Out y, In x, f32 factor". */
  readonly parameters: string;
}

export interface RecordField {
  readonly type: "u64" | "u32" | "f32" | "f64" | "i32";
  readonly offset: number;
}

export interface NativeDescription {
  readonly version: string;
  readonly cpu: string;
  readonly threads: number;
  readonly backends: readonly string[];
  readonly bestBackend: string;
  readonly kernels: readonly KernelLine[];
  readonly stepRecord: { readonly bytes: number; readonly fields: Readonly<Record<string, RecordField>> };
}

export interface NativeMemory {
  readonly buffers: number;
  readonly bytes: number;
  readonly reservedBytes: number;
  readonly peakBytes: number;
  /** Of `bytes`, what the recordings' arena holds. */
  readonly arenaBytes: number;
  readonly budgetBytes: number;
  readonly processBytes: number;
}

/** Why an awaited command failed. */
export interface NativeFailure {
  readonly kernel: string;
  readonly code: "cancelled" | "index_out_of_range" | "not_finite" | "not_converged" | "io_error" | "io_short_read";
  readonly found: number;
  readonly at: number;
  readonly limit: number;
}

/** One command as the native thread measured it. */
export interface ProfileRow {
  /** Name of the kernel. */
  readonly kernel: string;
  /** Its views: dtype[rows,cols], with /ld where rows are not packed. */
  readonly shapes: string;
  /** Wall time in nanoseconds. */
  readonly ns: number;
  /** Floating-point operations, a multiply-add counted as two. */
  readonly flops: number;
  /** Bytes of all its arguments together. */
  readonly bytes: number;
}

export interface NativeRecording {
  readonly id: number;
  readonly commands: number;
  /** Of the arena that holds everything made inside: the peak. */
  readonly bytes: number;
}

export interface NativeModule {
  readonly args: Float64Array;
  describe(): NativeDescription;
  chooseBackend(name: string): string | null;
  allocate(bytes: number, state: boolean, external: boolean, fresh: boolean): number;
  release(handle: number): void;
  memory(): NativeMemory;
  resetPeak(): void;
  setBudget(bytes: number): void;
  submit(kernel: number, owner: number): "out of memory" | undefined;
  write(handle: number, offset: number, data: Uint8Array): void;
  read(destination: Uint8Array, owner: number): Promise<void>;
  fence(): Promise<void>;
  readFile(file: number, fileOffset: number, bytes: number, handle: number, offset: number, owner: number): Promise<void>;
  /** From here on kernels are listed, not run, and buffers are planned, not allocated. Writes and reads are refused. */
  beginRecording(): void;
  endRecording(): NativeRecording;
  reserveArena(bytes: number): boolean;
  replay(recording: number, owner: number): "out of memory" | undefined;
  forgetRecording(recording: number): void;
  createOwner(): number;
  abortOwner(owner: number): void;
  startProfile(): void;
  stopProfile(): ProfileRow[];
}
