/** @file The environment variables that lowrank reads; `docs/env.md` describes them. Nothing else reads `process.env`. */

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
