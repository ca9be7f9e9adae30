/** @file The choice of a token: distributions against ones worked out by hand, and the random numbers behind them. */
import { describe, expect, it } from "vitest";
import { candidates, type SamplingSettings, sample, uniform } from "../../lib/models/sampling.js";
import { errorOf } from "./config-kit.js";

/** Logits of tokens 0 … 5 with probabilities 0.1, 0.4, 0.2, 0.05, 0.2, 0.05. */
const shares = [0.1, 0.4, 0.2, 0.05, 0.2, 0.05];
const logits = Float64Array.from(shares, Math.log);

/** Probability by token. */
function distribution(settings: Partial<SamplingSettings>): number[] {
  const found = candidates(logits, { temperature: 1, seed: 0, ...settings });
  const all = shares.map(() => 0);
  found.ids.forEach((id, i) => {
    all[id] = found.probabilities[i] as number;
  });
  return all;
}

function expectShares(found: readonly number[], expected: readonly number[]): void {
  const total = expected.reduce((sum, share) => sum + share, 0);
  found.forEach((share, id) => {
    expect(share, `token ${id}`).toBeCloseTo((expected[id] as number) / total, 12);
  });
}

/** How often each of 0 … size − 1 stands in a list. */
const counted = (size: number, list: readonly number[]): number[] =>
  Array.from({ length: size }, (_, value) => list.filter((item) => item === value).length);

/** Σ (found − expected)² / expected, over what is expected at all. */
function chiSquare(counts: readonly number[], shares: readonly number[]): number {
  const draws = counts.reduce((sum, count) => sum + count, 0);
  return counts.reduce((sum, count, i) => {
    const expected = draws * (shares[i] as number);
    return expected === 0 ? sum : sum + (count - expected) ** 2 / expected;
  }, 0);
}

describe("candidates", () => {
  it("are all tokens with their probabilities", () => {
    expectShares(distribution({}), shares);
  });

  it("temperature 0.5 squares the probabilities, 2 takes their roots", () => {
    expectShares(
      distribution({ temperature: 0.5 }),
      shares.map((share) => share ** 2),
    );
    expectShares(distribution({ temperature: 2 }), shares.map(Math.sqrt));
  });

  it("topK keeps the k most likely and all that equal the last of them", () => {
    expectShares(distribution({ topK: 1 }), [0, 0.4, 0, 0, 0, 0]);
    expectShares(distribution({ topK: 2 }), [0, 0.4, 0.2, 0, 0.2, 0]);
    expectShares(distribution({ topK: 3 }), [0, 0.4, 0.2, 0, 0.2, 0]);
    expectShares(distribution({ topK: 4 }), [0.1, 0.4, 0.2, 0, 0.2, 0]);
    expectShares(distribution({ topK: 100 }), shares);
  });

  it("topP keeps the shortest list that reaches it, the lower id first among equals", () => {
    expectShares(distribution({ topP: 0.3 }), [0, 0.4, 0, 0, 0, 0]);
    expectShares(distribution({ topP: 0.5 }), [0, 0.4, 0.2, 0, 0, 0]);
    expectShares(distribution({ topP: 0.7 }), [0, 0.4, 0.2, 0, 0.2, 0]);
    expectShares(distribution({ topP: 0.85 }), [0.1, 0.4, 0.2, 0, 0.2, 0]);
    expectShares(distribution({ topP: 0.93 }), [0.1, 0.4, 0.2, 0.05, 0.2, 0]);
    expectShares(distribution({ topP: 1e-9 }), [0, 0.4, 0, 0, 0, 0]);
  });

  it("temperature comes before topK, and topK before topP", () => {
    // Squared and cut to three: 0.16, 0.04, 0.04 of 0.24; 0.8 of that is reached by the first two.
    expectShares(distribution({ temperature: 0.5, topK: 3, topP: 0.8 }), [0, 0.16, 0.04, 0, 0, 0]);
    // Without topK the sum is 0.255, and the same 0.8 needs a third token.
    expectShares(distribution({ temperature: 0.5, topP: 0.8 }), [0, 0.16, 0.04, 0, 0.04, 0]);
  });

  it("a tiny temperature leaves the most likely, an infinite logit below is no token", () => {
    expectShares(distribution({ temperature: 1e-300 }), [0, 1, 0, 0, 0, 0]);
    expect(candidates([Number.NEGATIVE_INFINITY, 1, 1], { temperature: 1, seed: 0 })).toEqual({ ids: [1, 2], probabilities: [0.5, 0.5] });
  });

  it.each([[[1, Number.NaN, 2]], [[1, Number.POSITIVE_INFINITY]], [[Number.NEGATIVE_INFINITY, Number.NEGATIVE_INFINITY]]])("refuse %j", (bad) => {
    expect(errorOf(() => candidates(bad, { temperature: 1, seed: 0 })).code).toBe("GENERATION_NONFINITE");
  });

  it("agree with a plain sort for many tokens", () => {
    const many = Float32Array.from({ length: 5000 }, (_, i) => 6 * Math.sin(i * i));
    const temperature = 0.8;
    const largest = many.reduce((most, logit) => Math.max(most, logit));
    const weights = Array.from(many, (logit) => Math.exp((logit - largest) / temperature));
    const order = weights.map((_, i) => i).sort((a, b) => (weights[b] as number) - (weights[a] as number) || a - b);
    for (const [topK, topP] of [
      [50, 1],
      [5000, 0.9],
      [300, 0.6],
      [undefined, 0.01],
      [undefined, 0.999999],
    ] as const) {
      const first = order.slice(0, topK);
      const total = first.reduce((sum, i) => sum + (weights[i] as number), 0);
      let sum = 0;
      const kept = first.filter((i) => {
        const isNeeded = sum < topP * total;
        sum += weights[i] as number;
        return isNeeded;
      });
      expect(candidates(many, { temperature, topK, topP, seed: 0 }).ids).toEqual(kept.sort((a, b) => a - b));
    }
  });
});

describe("sample", () => {
  const settings = { temperature: 1, topK: 4, topP: 0.85 };

  it("draws tokens as often as their probabilities say (chi-square)", () => {
    const draws = 20_000;
    // Of four tokens with 0.9 together, the first three reach 0.85 of that.
    const expected = [0, 0.5, 0.25, 0, 0.25, 0];
    const counts = counted(
      6,
      Array.from({ length: draws }, (_, step) => sample(logits, { ...settings, seed: 42 }, step)),
    );
    expect(counts.filter((_, id) => expected[id] === 0)).toEqual([0, 0, 0]);
    // Two degrees of freedom; one seed in a million is above 27.6.
    expect(chiSquare(counts, expected)).toBeLessThan(27.6);
  });

  it("is a pure function of seed and step", () => {
    const run = (seed: number): number[] => Array.from({ length: 50 }, (_, step) => sample(logits, { temperature: 1, seed }, step));
    expect(run(7)).toEqual(run(7));
    expect(run(7)).not.toEqual(run(8));
    expect(sample(logits, { temperature: 1, seed: 7 }, 30)).toBe(run(7)[30]);
  });
});

it("random numbers lie in [0, 1), differ by seed, step and the upper half of both, and fill it evenly", () => {
  const numbers = Array.from({ length: 10_000 }, (_, step) => uniform(3, step));
  expect(numbers.every((x) => x >= 0 && x < 1)).toBe(true);
  const bins = counted(
    20,
    numbers.map((x) => Math.floor(20 * x)),
  );
  // 19 degrees of freedom; one seed in a million is above 63.2.
  expect(chiSquare(bins, new Array<number>(20).fill(1 / 20))).toBeLessThan(63.2);
  expect(new Set([uniform(3, 1), uniform(4, 1), uniform(3, 2), uniform(3 + 2 ** 32, 1), uniform(3, 1 + 2 ** 32)]).size).toBe(5);
});
