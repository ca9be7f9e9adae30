/** @file The choice of the next token from its logits: a pure function of logits, settings, seed and step, in float64. */
import { LowrankError } from "../native/errors.js";
import { philox } from "../ops/reference.js";

/** How a token is chosen. */
export interface SamplingSettings {
  /** Divides the logits; above 0. */
  readonly temperature: number;
  /** Only this many of the most likely tokens; undefined: all. */
  readonly topK?: number | undefined;
  /** Only the most likely tokens whose probabilities together first reach this; above 0, at most 1. */
  readonly topP?: number | undefined;
  /** A natural number below 2^53. */
  readonly seed: number;
}

/** The tokens that can be chosen, ids rising, with their probabilities. */
export interface Candidates {
  readonly ids: readonly number[];
  readonly probabilities: readonly number[];
}

/** In the counter of the random numbers, so that they are none of those that dropout draws. */
const stream = 0x67656e65;

/** The number in [0, 1) for a step: 53 bits of Philox4x32-10 with the seed as key and the step in the counter. */
export function uniform(seed: number, step: number): number {
  const [high, low] = philox([step >>> 0, Math.floor(step / 2 ** 32), 0, stream], seed);
  return ((high >>> 6) * 2 ** 27 + (low >>> 5)) * 2 ** -53;
}

/**
 * The distribution, in the order of transformers: the logits are divided by the temperature; `topK` leaves the k largest (and all that equal the
 * last of them); `topP` leaves the shortest list of most likely tokens whose probabilities add up to it, the lower id first among equals, and
 * at least one; the rest is scaled to 1.
 * @throws LowrankError GENERATION_NONFINITE when a logit is NaN or +∞, or all are −∞
 */
export function candidates(logits: ArrayLike<number>, { temperature, topK, topP = 1 }: SamplingSettings): Candidates {
  const largest = largestLogit(logits);
  const least = topK === undefined || topK >= logits.length ? Number.NEGATIVE_INFINITY : nthLargest(logits, topK);
  let ids: number[] = [];
  let weights: number[] = [];
  let total = 0;
  for (let id = 0; id < logits.length; id++) {
    const logit = logits[id] as number;
    if (logit < least) continue;
    const weight = Math.exp((logit - largest) / temperature);
    if (weight === 0) continue;
    ids.push(id);
    weights.push(weight);
    total += weight;
  }
  if (topP < 1) {
    const kept = nucleus(weights, total, topP);
    ids = kept.map((i) => ids[i] as number);
    weights = kept.map((i) => weights[i] as number);
    total = weights.reduce((sum, weight) => sum + weight, 0);
  }
  return { ids, probabilities: weights.map((weight) => weight / total) };
}

/** The token of a step: the first of the candidates, by rising id, at which the probabilities so far exceed the step's random number. */
export function sample(logits: ArrayLike<number>, settings: SamplingSettings, step: number): number {
  const { ids, probabilities } = candidates(logits, settings);
  const mark = uniform(settings.seed, step);
  let sum = 0;
  for (let i = 0; i < ids.length; i++) {
    sum += probabilities[i] as number;
    if (sum > mark) return ids[i] as number;
  }
  return ids[ids.length - 1] as number;
}

/** @throws LowrankError GENERATION_NONFINITE for NaN and infinities: what is likely cannot be said then */
export function requireFinite(logit: number, token?: number): void {
  if (Number.isFinite(logit)) return;
  const where = token === undefined ? "the largest logit" : `the logit of token ${token}`;
  const message = `generate: ${where} is ${logit}. Weights or adapter hold NaN, infinity or huge values; has a training diverged?`;
  throw new LowrankError("GENERATION_NONFINITE", message, { token, actual: String(logit) });
}

function largestLogit(logits: ArrayLike<number>): number {
  let largest = Number.NEGATIVE_INFINITY;
  for (let id = 0; id < logits.length; id++) {
    const logit = logits[id] as number;
    if (Number.isNaN(logit)) requireFinite(logit, id);
    if (logit > largest) largest = logit;
  }
  requireFinite(largest);
  return largest;
}

/** Above this many, sorting all values costs less than keeping the largest in order. */
const mostKept = 512;

function nthLargest(values: ArrayLike<number>, n: number): number {
  if (n > mostKept) return Float64Array.from(values).sort()[values.length - n] as number;
  const largest = new Float64Array(n).fill(Number.NEGATIVE_INFINITY); // falling
  for (let i = 0; i < values.length; i++) {
    const value = values[i] as number;
    if (value <= (largest[n - 1] as number)) continue;
    let at = n - 1;
    for (; at > 0 && (largest[at - 1] as number) < value; at--) largest[at] = largest[at - 1] as number;
    largest[at] = value;
  }
  return largest[n - 1] as number;
}

/** The indexes, rising, of the most likely weights that add up to `share` of the total. */
function nucleus(weights: readonly number[], total: number, share: number): number[] {
  // What is smaller than an equal part of the rest is never needed: all of those together are less than the rest.
  const least = ((1 - share) / weights.length) * total;
  const likely: number[] = [];
  weights.forEach((weight, i) => {
    if (weight >= least) likely.push(i);
  });
  likely.sort((a, b) => (weights[b] as number) - (weights[a] as number) || a - b);
  let sum = 0;
  const end = likely.findIndex((i) => {
    sum += weights[i] as number;
    return sum >= share * total;
  });
  return likely.slice(0, end < 0 ? likely.length : end + 1).sort((a, b) => a - b);
}
