/** @file Rows of given lengths, for training and evaluation by recordings and without them. */
import type { TokenBatch } from "../../lib/index.js";
import { Random } from "../ops/random.js";

export type Example = { tokens: number[]; labels: number[]; starts?: number[] };

/** Rows of these lengths, some labels of which count. */
export function examplesOf(lengths: readonly number[], vocabSize: number): Example[] {
  const random = new Random("recorded");
  return lengths.map((length) => {
    const tokens = Array.from({ length }, () => random.below(vocabSize));
    return { tokens, labels: tokens.map((token, t) => (t % 3 === 2 ? -100 : token)) };
  });
}

export const batchesOf = (examples: readonly Example[], size: number): TokenBatch[] =>
  Array.from({ length: Math.ceil(examples.length / size) }, (_, i) => {
    const rows = examples.slice(i * size, (i + 1) * size);
    return {
      tokens: rows.map(({ tokens }) => tokens),
      labels: rows.map(({ labels }) => labels),
      ...(rows.some(({ starts }) => starts) ? { starts: rows.map(({ starts }) => starts ?? [0]) } : {}),
    };
  });
