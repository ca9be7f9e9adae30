/** @file What the losses of the work `lora-step` must be: random weights know nothing, and training the same rows again lowers the loss. */

/** @throws Error where the first loss is not near ln(vocabulary), or the last one not below it. */
export function proveLosses(losses: readonly number[], vocabulary: number): void {
  const [first = Number.NaN, last = Number.NaN] = [losses[0], losses.at(-1)];
  const expected = Math.log(vocabulary);
  if (!(Math.abs(first - expected) <= 0.5))
    throw new Error(`wrong answer: the first loss is ${first}, expected ln(${vocabulary}) = ${expected} ± 0.5`);
  if (!(last < first)) throw new Error(`wrong answer: the loss does not fall: ${losses.join(", ")}`);
}

/** Losses in f32 of the same steps by two libraries: rounding differs, and every step after the first builds on it. */
export const lossTolerance = 1e-4;
