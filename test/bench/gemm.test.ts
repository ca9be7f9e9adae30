import { describe, expect, it } from "vitest";
import { median } from "../../bench/contenders/answer.js";
import { type GemmContender, measureGemm, proveProduct, seededNumbers, transposed } from "../../bench/contenders/gemm.js";
import { proveLosses } from "../../bench/contenders/lora-step.js";

const shape = { m: 9, n: 5, k: 33 };
const x = seededNumbers(9 * 33, 1);
const w = seededNumbers(5 * 33, 2);

/** Summed in float64, by the definition. */
const product = (): Float32Array =>
  Float32Array.from({ length: 9 * 5 }, (_, at) =>
    Array.from({ length: 33 }, (_, i) => (x[Math.floor(at / 5) * 33 + i] as number) * (w[(at % 5) * 33 + i] as number)).reduce((a, b) => a + b),
  );

const contender = (result: () => Float32Array): GemmContender => ({
  contender: "plain",
  threads: () => 1,
  versions: () => ({ plain: "1" }),
  prepare: async () => ({ multiply: async () => {}, result: async () => result() }),
});

describe("the numbers that all contenders multiply", () => {
  it("are those of a xorshift generator", () => {
    // The same generator in Python.
    expect([...seededNumbers(4, 1)]).toEqual([-0.9998741149902344, -0.9685051441192627, 0.23280811309814453, -0.8567627668380737]);
    expect(new Set(seededNumbers(10_000, 2)).size).toBeGreaterThan(9_900);
  });

  it("can be turned", () => {
    expect([...transposed(Float32Array.of(1, 2, 3, 4, 5, 6), { m: 1, n: 2, k: 3 })]).toEqual([1, 4, 2, 5, 3, 6]);
  });
});

describe("the proof of a product", () => {
  it("passes a right one, and tells its error as a share of the bound", () => {
    const share = proveProduct(shape, x, w, product());
    expect(share).toBeGreaterThan(0);
    expect(share).toBeLessThan(0.5);
  });

  it.each([
    ["a wrong element", (y: Float32Array) => y.with(7, (y[7] as number) + 1e-3), /y\[1, 2\] is .* expected .* within/],
    ["no number", (y: Float32Array) => y.with(44, Number.NaN), /y\[8, 4\] is NaN/],
    ["another size", (y: Float32Array) => y.slice(1), /44 numbers for 9 × 5/],
  ])("finds %s", (_, spoil, message) => {
    expect(() => proveProduct(shape, x, w, spoil(product()))).toThrow(message);
  });
});

describe("the measurement of a product", () => {
  it("tells GFLOP/s, the threads that were used, and versions", async () => {
    const answer = await measureGemm(contender(product), shape, 2);
    expect(answer).toMatchObject({ contender: "plain", work: "gemm 9x5x33", threads: 1, unit: "GFLOP/s", versions: { plain: "1" } });
    expect(answer.samples).toBeGreaterThanOrEqual(5);
    expect(answer.value).toBeGreaterThan(0);
  });

  it("refuses a wrong answer, before and behind the clock", async () => {
    await expect(
      measureGemm(
        contender(() => new Float32Array(45)),
        shape,
        1,
      ),
    ).rejects.toThrow(/wrong answer/);
    let asked = 0;
    await expect(
      measureGemm(
        contender(() => (asked++ === 0 ? product() : new Float32Array(45))),
        shape,
        1,
      ),
    ).rejects.toThrow(/wrong answer/);
  });
});

it("the losses of a training begin at ln(vocabulary) and fall", () => {
  proveLosses([6.95, 6.9, 6.8], 1000);
  expect(() => proveLosses([7.5, 6.9], 1000)).toThrow(/first loss is 7\.5/);
  expect(() => proveLosses([Number.NaN, 6.9], 1000)).toThrow(/first loss is NaN/);
  expect(() => proveLosses([6.9, 6.9], 1000)).toThrow(/does not fall: 6\.9, 6\.9/);
  expect(() => proveLosses([], 1000)).toThrow(/first loss/);
});

it("the median of an even count lies between two", () => {
  expect(median([3, 1, 2])).toBe(2);
  expect(median([4, 1, 3, 2])).toBe(2.5);
  expect(median([])).toBeNaN();
});
