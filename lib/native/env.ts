/**
 * @file The environment variables that lowrank's TypeScript reads; `docs/env.md` describes those of its own. Nothing else in lib/ reads
 * `process.env`, except NO_COLOR where rows are coloured (lib/text/dataset-sample.ts). Native code reads for itself LOWRANK_NUM_THREADS
 * (native/core/thread_count.cpp), LOWRANK_DEBUG and LOWRANK_CHECK (native/kernels/command.cpp).
 */

/** The backend named by LOWRANK_BACKEND, or undefined for the best one. */
export const requestedBackend = (): string | undefined => process.env["LOWRANK_BACKEND"] || undefined;

/** LOWRANK_DEBUG: 1 devices and memory, 2 a line per command, 3 shapes, 4 first values (2 and up are printed by the native thread). */
export const debugLevel = (): number => Number(process.env["LOWRANK_DEBUG"] ?? 0) || 0;

/** LOWRANK_MEMORY_BUDGET: bytes that all tensors of the process may hold together. */
export const requestedBudget = (): number | undefined => {
  const text = process.env["LOWRANK_MEMORY_BUDGET"];
  const bytes = text === undefined || text === "" ? Number.NaN : Number(text);
  return Number.isSafeInteger(bytes) && bytes >= 0 ? bytes : undefined;
};

/** LOWRANK_NUM_THREADS, where native code takes it: a positive integer. */
export const requestedThreads = (): number | undefined => {
  const text = process.env["LOWRANK_NUM_THREADS"] ?? "";
  return /^[1-9][0-9]*$/.test(text) ? Number(text) : undefined;
};

/** Whether a stream is a terminal that wants colours: NO_COLOR not set, or empty. */
export const wantsColor = ({ isTTY }: { readonly isTTY?: boolean }): boolean => isTTY === true && (process.env["NO_COLOR"] ?? "") === "";
