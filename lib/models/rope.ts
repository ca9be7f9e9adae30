/**
 * @file Rotary position embedding (Su et al., arXiv:2104.09864): the angle per position of every pair of dimensions, for the ways of
 * stretching the context that transformers knows. Everything is float64; callers round once, after the product with the position.
 */
import { LowrankError } from "../native/errors.js";

/** How the angles of a model come about, with every default filled in. `theta` is the base: pair i of K/2 turns by `theta^(-2i/K)`. */
export type RopeSettings =
  | { readonly type: "default"; readonly theta: number }
  /** Positions are divided by `factor` (position interpolation, arXiv:2306.15595). */
  | { readonly type: "linear"; readonly theta: number; readonly factor: number }
  /** The base grows with the length of the sequence beyond `maxPositions` ("NTK-aware"). */
  | { readonly type: "dynamic"; readonly theta: number; readonly factor: number }
  /** Slow pairs are divided by `factor`, fast ones are kept, with a ramp between (arXiv:2309.00071). */
  | YarnSettings
  /** Every pair has its own divisor, another one for long sequences (arXiv:2402.13753). */
  | LongRopeSettings
  /** Pairs of long wavelength are divided by `factor`, of short wavelength kept, with a ramp between (Llama 3.1). */
  | Llama3Settings;

/** See {@link RopeSettings}. */
export interface YarnSettings {
  readonly type: "yarn";
  readonly theta: number;
  readonly factor: number;
  /** Positions that the model was first trained with. */
  readonly originalMaxPositions: number;
  /** Multiplies cos and sin; undefined: from `factor`, `mscale` and `mscaleAllDim`. */
  readonly attentionFactor: number | undefined;
  /** Pairs with more turns than this within the original positions are kept; 32. */
  readonly betaFast: number;
  /** Pairs with fewer turns than this are divided by `factor`; 1. */
  readonly betaSlow: number;
  /** Both or none: where one is missing or 0, the other has no effect. */
  readonly mscale: number | undefined;
  readonly mscaleAllDim: number | undefined;
  /** Whether the ends of the ramp are rounded to whole pairs; true. */
  readonly truncate: boolean;
}

/** See {@link RopeSettings}. */
export interface LongRopeSettings {
  readonly type: "longrope";
  readonly theta: number;
  readonly factor: number;
  readonly originalMaxPositions: number;
  /** Multiplies cos and sin; undefined: from `factor` and `originalMaxPositions`. */
  readonly attentionFactor: number | undefined;
  /** K/2 divisors for sequences of up to `originalMaxPositions` tokens, and for longer ones. */
  readonly shortFactor: readonly number[];
  readonly longFactor: readonly number[];
}

/** See {@link RopeSettings}. */
export interface Llama3Settings {
  readonly type: "llama3";
  readonly theta: number;
  readonly factor: number;
  readonly originalMaxPositions: number;
  /** Pairs with fewer turns than this within the original positions are divided by `factor`. */
  readonly lowFreqFactor: number;
  /** Pairs with more turns than this are kept. */
  readonly highFreqFactor: number;
}

/** The names of {@link RopeSettings}, as in config.json. */
export const ropeTypes: readonly RopeSettings["type"][] = ["default", "linear", "dynamic", "yarn", "longrope", "llama3"];

/** What {@link ropeFrequencies} gives. */
export interface RopeFrequencies {
  /** K/2 angles per position, in radians; dimension i is paired with dimension i + K/2. */
  readonly inverse: Float64Array;
  /** Multiplies cos and sin of all angles; 1 unless the type is yarn or longrope. */
  readonly attentionFactor: number;
}

/**
 * The angles of a model, as transformers' `modeling_rope_utils` defines them, computed in float64.
 *
 * Two types depend on the length of the sequence, and all positions of a sequence get the frequencies of its whole length:
 * - `dynamic`: up to `maxPositions` tokens the plain frequencies; beyond, the base grows with the length.
 * - `longrope`: up to `originalMaxPositions` tokens the short divisors; beyond, the long ones. The attention factor is the same for both.
 *
 * Give the longest length of the batch, padding included: that is what transformers looks at. It also remembers: once a `dynamic` model
 * has seen a long sequence, it keeps those frequencies for shorter ones that are still beyond `maxPositions`. This function does not: the
 * result depends on `tokens` alone.
 * @param config what `parseModelConfig` gave, or these three fields
 * @param tokens length of the sequence; without it the result is for a sequence within the length that the model was made for. Other types
 *   ignore it.
 * @throws LowrankError `BAD_ARGUMENT` when `tokens` is not a positive integer
 */
export function ropeFrequencies(
  config: { readonly rope: RopeSettings; readonly headDim: number; readonly maxPositions: number },
  tokens?: number,
): RopeFrequencies {
  if (tokens !== undefined && !(Number.isSafeInteger(tokens) && tokens > 0)) {
    const message = `ropeFrequencies: tokens is ${String(tokens)}, expected a positive integer: the length of the sequence`;
    throw new LowrankError("BAD_ARGUMENT", message, { expected: "a positive integer", actual: tokens });
  }
  const { rope, headDim, maxPositions } = config;
  const plain = powers(rope.theta, headDim);
  switch (rope.type) {
    case "default":
      return { inverse: plain, attentionFactor: 1 };
    case "linear":
      return { inverse: plain.map((frequency) => frequency / rope.factor), attentionFactor: 1 };
    case "dynamic": {
      const stretch = (rope.factor * Math.max(tokens ?? 0, maxPositions)) / maxPositions - (rope.factor - 1);
      return { inverse: powers(rope.theta * stretch ** (headDim / (headDim - 2)), headDim), attentionFactor: 1 };
    }
    case "yarn":
      return yarn(rope, plain, headDim);
    case "longrope":
      return longRope(rope, plain, tokens ?? 0);
    case "llama3":
      return llama3(rope, plain);
  }
}

/** `theta^(-2i/K)` for every pair i. */
function powers(theta: number, headDim: number): Float64Array {
  return Float64Array.from({ length: headDim / 2 }, (_, i) => theta ** ((-2 * i) / headDim));
}

function yarn(rope: YarnSettings, plain: Float64Array, headDim: number): RopeFrequencies {
  // The (fractional) dimension whose pair makes this many turns within the original positions.
  const dimension = (turns: number): number => (headDim * Math.log(rope.originalMaxPositions / (turns * 2 * Math.PI))) / (2 * Math.log(rope.theta));
  let low = dimension(rope.betaFast);
  let high = dimension(rope.betaSlow);
  if (rope.truncate) {
    low = Math.floor(low);
    high = Math.ceil(high);
  }
  low = Math.max(low, 0);
  high = Math.min(high, headDim - 1);
  if (low === high) high += 0.001;
  const inverse = plain.map((frequency, i) => {
    const divided = Math.min(Math.max((i - low) / (high - low), 0), 1);
    return (frequency / rope.factor) * divided + frequency * (1 - divided);
  });
  return { inverse, attentionFactor: rope.attentionFactor ?? yarnAttentionFactor(rope) };
}

function yarnAttentionFactor({ factor, mscale, mscaleAllDim }: YarnSettings): number {
  const scale = (strength: number): number => (factor <= 1 ? 1 : 0.1 * strength * Math.log(factor) + 1);
  return mscale && mscaleAllDim ? scale(mscale) / scale(mscaleAllDim) : scale(1);
}

function longRope(rope: LongRopeSettings, plain: Float64Array, tokens: number): RopeFrequencies {
  const divisors = tokens > rope.originalMaxPositions ? rope.longFactor : rope.shortFactor;
  const byLength = rope.factor <= 1 ? 1 : Math.sqrt(1 + Math.log(rope.factor) / Math.log(rope.originalMaxPositions));
  return { inverse: plain.map((frequency, i) => frequency / (divisors[i] as number)), attentionFactor: rope.attentionFactor ?? byLength };
}

function llama3(rope: Llama3Settings, plain: Float64Array): RopeFrequencies {
  const inverse = plain.map((frequency) => {
    const turns = (rope.originalMaxPositions * frequency) / (2 * Math.PI);
    const kept = Math.min(Math.max((turns - rope.lowFreqFactor) / (rope.highFreqFactor - rope.lowFreqFactor), 0), 1);
    return (frequency / rope.factor) * (1 - kept) + frequency * kept;
  });
  return { inverse, attentionFactor: 1 };
}
