/** @file Learning-rate schedules, with the formulas of transformers (`get_scheduler`): pure functions of the step, in float64. */

export type Schedule = "constant" | "linear" | "cosine";

export const schedules: readonly Schedule[] = ["constant", "linear", "cosine"];

/**
 * The factor of the peak learning rate at step `k` (from 0) of `total`. Warm-up starts at 0 and reaches 1 at step `warmup`.
 * `total` is not used by "constant".
 */
export function scheduleFactor(schedule: Schedule, k: number, warmup: number, total: number): number {
  if (k < warmup) return k / Math.max(1, warmup);
  if (schedule === "constant") return 1;
  if (schedule === "linear") return Math.max(0, (total - k) / Math.max(1, total - warmup));
  const progress = (k - warmup) / Math.max(1, total - warmup);
  return Math.max(0, 0.5 * (1 + Math.cos(Math.PI * progress)));
}
