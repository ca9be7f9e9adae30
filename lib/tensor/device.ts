/** @file Memory counters, waiting, profiling. */
import { engine } from "../native/engine.js";
import type { ProfileRow } from "../native/native-module.js";

export type { ProfileRow } from "../native/native-module.js";

/** Memory of one device in this environment. Exact at every moment, without waiting. */
export interface MemoryInfo {
  /** Buffers in use. */
  readonly tensors: number;
  /** Bytes that they were made with. */
  readonly bytes: number;
  /** Bytes held from the system, free blocks of the pool included. */
  readonly reservedBytes: number;
  /** Largest `bytes` so far, or since the last `resetPeakMemory()`. */
  readonly peakBytes: number;
  /** What all environments of the process may hold together. */
  readonly budgetBytes: number;
}

/** Memory in use, per device. */
export function memory(): { readonly cpu: MemoryInfo } {
  const { buffers, bytes, reservedBytes, peakBytes, budgetBytes } = engine().memory();
  return { cpu: { tensors: buffers, bytes, reservedBytes, peakBytes, budgetBytes } };
}

/** Starts `peakBytes` anew from the bytes in use now. */
export function resetPeakMemory(): void {
  engine().resetPeak();
}

/**
 * Waits until everything submitted so far has run.
 * @throws LowrankError the first failure that nobody has awaited yet.
 */
export function synchronize(): Promise<void> {
  return engine().synchronize();
}

/**
 * Runs `fn` (which may be async) and gives one row for each command it submitted, timed on the native thread.
 */
export async function profile(fn: () => unknown): Promise<ProfileRow[]> {
  await synchronize();
  engine().startProfile();
  let rows: ProfileRow[] = [];
  try {
    await fn();
    await synchronize();
  } finally {
    rows = engine().stopProfile();
  }
  return rows;
}

/** What runs the kernels: the backend (instruction set), the CPU and the number of threads. */
export function deviceInfo(): { readonly backend: string; readonly backends: readonly string[]; readonly cpu: string; readonly threads: number } {
  const { backend, description } = engine();
  const { backends, cpu, threads } = description;
  return { backend, backends, cpu, threads };
}
