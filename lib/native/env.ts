/**
 * @file The environment variables that lowrank's TypeScript reads; `docs/env.md` describes those of its own. Nothing else in lib/ reads
 * `process.env`. Native code reads for itself LOWRANK_NUM_THREADS (native/core/thread_count.cpp), LOWRANK_DEBUG and LOWRANK_CHECK
 * (native/kernels/command.cpp).
 */
import { LowrankError, quoted } from "./errors.js";

/** The backend named by LOWRANK_BACKEND, or undefined for the best one. */
export const requestedBackend = (): string | undefined => process.env["LOWRANK_BACKEND"] || undefined;

/** LOWRANK_DEBUG: 1 devices and memory, 2 a line per command, 3 shapes, 4 first values (2 and up are printed by the native thread). */
export const debugLevel = (): number => Number(process.env["LOWRANK_DEBUG"] ?? 0) || 0;

/** LOWRANK_MEMORY_BUDGET: bytes that all tensors of the process may hold together. @throws LowrankError BAD_ARGUMENT */
export const requestedBudget = (): number | undefined => positive("LOWRANK_MEMORY_BUDGET", "a positive number of bytes, like 4000000000");

/** LOWRANK_NUM_THREADS; native code, which reads it too, passes over what is refused here. @throws LowrankError BAD_ARGUMENT */
export const requestedThreads = (): number | undefined => positive("LOWRANK_NUM_THREADS", "a positive number of threads, like 4");

function positive(name: string, expected: string): number | undefined {
  const text = process.env[name] ?? "";
  if (text === "") return undefined;
  const value = /^[0-9]+$/.test(text) ? Number(text) : Number.NaN;
  if (Number.isSafeInteger(value) && value > 0) return value;
  throw new LowrankError("BAD_ARGUMENT", `${name}=${quoted(text)}: the environment variable is ${expected}. Correct it, or leave it out.`, {
    expected,
    actual: text,
  });
}

/** Whether a stream is a terminal that wants colours: NO_COLOR not set, or empty. */
export const wantsColor = ({ isTTY }: { readonly isTTY?: boolean }): boolean => isTTY === true && (process.env["NO_COLOR"] ?? "") === "";
