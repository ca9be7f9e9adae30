/** @file Exact sizes against plain BigInt arithmetic. */
import { describe, expect, test } from "vitest";
import { byteSize, type Exact, subtract } from "../../lib/io/exact.js";
import { randomNumbers } from "./mutations.js";

const exact = (value: bigint): Exact => (value <= BigInt(Number.MAX_SAFE_INTEGER) ? Number(value) : value);

/** The rule with arbitrary precision: undefined when the non-zero dimensions need 2^64 bits, or when an empty tensor has an unsafe one. */
function expected(dims: readonly bigint[], bytes: number): Exact | undefined {
  const nonZero = dims.filter((dim) => dim !== 0n).reduce((product, dim) => product * dim, BigInt(bytes));
  if (nonZero * 8n >= 2n ** 64n) return undefined;
  if (!dims.includes(0n)) return exact(nonZero);
  return dims.some((dim) => dim > BigInt(Number.MAX_SAFE_INTEGER)) ? undefined : 0;
}

describe("byteSize", () => {
  test("200,000 random shapes", () => {
    const random = randomNumbers(11);
    const counts = { overflow: 0, large: 0, small: 0 };
    for (let k = 0; k < 200_000; k++) {
      const dims = Array.from({ length: random() % 6 }, () => {
        const bits = BigInt(random() % 40) + (random() % 8 === 0 ? 24n : 0n);
        return ((BigInt(random()) << 32n) | BigInt(random())) >> (64n - bits);
      });
      const bytes = [1, 2, 4, 8][random() % 4] as number;
      const size = byteSize(dims.map(exact), bytes);
      if (size !== expected(dims, bytes)) expect({ dims, bytes, size }).toEqual({ dims, bytes, size: expected(dims, bytes) });
      counts[size === undefined ? "overflow" : typeof size === "bigint" ? "large" : "small"]++;
    }
    expect(Math.min(counts.overflow, counts.large, counts.small)).toBeGreaterThan(1000);
  });

  test("the bounds", () => {
    expect(byteSize([2n ** 61n - 1n], 1)).toBe(2n ** 61n - 1n);
    expect(byteSize([2n ** 61n], 1)).toBe(undefined);
    expect(byteSize([0, 2n ** 53n], 1)).toBe(undefined);
    expect(byteSize([0, 2 ** 53 - 1], 1)).toBe(0);
    expect(byteSize([], 8)).toBe(8);
  });
});

test("subtract", () => {
  expect(subtract(9007199254740993n, 0)).toBe(9007199254740993n);
  expect(subtract(9007199254740993n, 9007199254740992n)).toBe(1);
  expect(subtract(5, 3)).toBe(2);
});
