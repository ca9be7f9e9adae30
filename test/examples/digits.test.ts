import { describe, expect, it } from "vitest";
import { digit, digitSets, digits } from "../../examples/digits.js";
import { Random } from "../../examples/random.js";
import { meanOf, nearestCentroidAccuracy, rotate, sameBytes, trainSoftmax } from "./helpers.js";

const SIZE = 28;

describe("digits", () => {
  it("image i is a pure function of seed and i, in any order and any batch", () => {
    const all = digits({ seed: 5, count: 40 });
    for (const i of [39, 0, 17, 3, 38]) {
      const alone = digit(5, i);
      expect(alone.label).toBe(all.labels[i]);
      expect(sameBytes(alone.image, all.images.subarray(i * SIZE * SIZE, (i + 1) * SIZE * SIZE))).toBe(true);
    }
    const later = digits({ seed: 5, first: 10, count: 5 });
    expect(sameBytes(later.images, all.images.subarray(10 * SIZE * SIZE, 15 * SIZE * SIZE))).toBe(true);
    expect([...later.labels]).toEqual([...all.labels.subarray(10, 15)]);
  });

  it("other seeds and other indices give other images", () => {
    const keys = new Set<string>();
    for (const seed of [0, 1, 2, 2 ** 32, 2 ** 53 - 1]) for (let i = 0; i < 40; i++) keys.add(Buffer.from(digit(seed, i).image).toString("base64"));
    expect(keys.size).toBe(200);
  });

  it("labels are balanced: chi-squared over 12,000 stays below the 0.001 quantile of 9 degrees of freedom", () => {
    for (const seed of [0, 1]) {
      const { labels } = digits({ seed, count: 12_000 });
      const counts = new Array<number>(10).fill(0);
      for (const label of labels) counts[label] = (counts[label] ?? 0) + 1;
      expect(counts.reduce((sum, n) => sum + (n - 1200) ** 2 / 1200, 0)).toBeLessThan(27.88);
    }
  });

  it("the ink is centred, of a plausible amount, and never touches the border", () => {
    const { images, count } = digits({ seed: 3, count: 2000 });
    const mean = meanOf(images, count);
    const total = mean.reduce((sum, v) => sum + v, 0);
    const centre = [0, 0];
    mean.forEach((v, p) => {
      centre[0] = (centre[0] ?? 0) + (v * (p % SIZE)) / total;
      centre[1] = (centre[1] ?? 0) + (v * Math.floor(p / SIZE)) / total;
    });
    for (const c of centre) expect(Math.abs(c - 13.5)).toBeLessThan(0.7);
    expect(total / mean.length).toBeGreaterThan(15);
    expect(total / mean.length).toBeLessThan(60);
    for (let p = 0; p < SIZE; p++) for (const edge of [p, 27 * SIZE + p, p * SIZE, p * SIZE + 27]) expect(mean[edge]).toBeLessThan(8);
  });

  it("the sets of the example do not overlap and have the sizes of the task", () => {
    const ranges = Object.values(digitSets).sort((a, b) => a.first - b.first);
    ranges.reduce((end, { first, count }) => {
      expect(first).toBeGreaterThanOrEqual(end);
      return first + count;
    }, 0);
    expect(Object.values(digitSets).map(({ count }) => count)).toEqual([12_000, 2_000, 2_000, 1_000, 2_000, 1_000]);
  });

  it("refuses bad arguments", () => {
    for (const call of [
      () => digit(-1, 0),
      () => digit(0, 1.5),
      () => digit(0, Number.NaN),
      () => digits({ seed: 0, count: -1 }),
      () => digits({ seed: 0, count: 2e9 }),
      () => digit(0, 0, "toString" as "base"),
    ]) {
      expect(call).toThrowError(expect.objectContaining({ code: "BAD_ARGUMENT" }));
    }
  });
});

describe("the tasks", () => {
  it("mild: half the contrast, twice the noise, same digits", () => {
    const base = digits({ seed: 8, count: 400 });
    const mild = digits({ seed: 8, count: 400, task: "mild" });
    expect(sameBytes(base.labels, mild.labels)).toBe(true);
    const ink = { base: 0, mild: 0 };
    const ground = { base: 0, mild: 0, n: 0 };
    let inked = 0;
    base.images.forEach((value, p) => {
      if (value === 255) {
        ink.base += 255;
        ink.mild += mild.images[p] ?? 0;
        inked++;
      } else if (p % (SIZE * SIZE) < SIZE) {
        ground.base += value ** 2;
        ground.mild += (mild.images[p] ?? 0) ** 2;
        ground.n++;
      }
    });
    // A base pixel of 255 is (nearly) full ink whose noise was not negative: its partner has half of it plus the mean of a half-normal noise.
    const positiveNoise = 20 * Math.sqrt(2 / Math.PI);
    expect(inked).toBeGreaterThan(2000);
    expect(Math.abs(ink.mild / inked - (127.5 + positiveNoise))).toBeLessThan(4);
    expect(Math.sqrt(ground.mild / ground.base)).toBeGreaterThan(1.9);
    expect(Math.sqrt(ground.mild / ground.base)).toBeLessThan(2.1);
  });

  it("strong: the inverse of the base turned by 30° clockwise, and by no other angle", () => {
    const count = 60;
    const turns = [-30, 0, 20, 25, 30, 35, 40, 150];
    const errors = turns.map(() => 0);
    for (let i = 0; i < count; i++) {
      const base = digit(8, i);
      const strong = digit(8, i, "strong");
      expect(strong.label).toBe(base.label);
      const upright = strong.image.map((v) => 255 - v);
      turns.forEach((degrees, t) => {
        const turned = rotate(base.image, SIZE, degrees, 13.5);
        errors[t] = (errors[t] ?? 0) + turned.reduce((sum, v, p) => sum + (v - (upright[p] ?? 0)) ** 2, 0) / (count * SIZE * SIZE);
      });
    }
    const best = Math.min(...errors);
    expect(turns[errors.indexOf(best)]).toBe(30);
    expect(Math.sqrt(best)).toBeLessThan(20);
  });

  it("the digits can be learned, and the strong task is a different one", () => {
    const train = digits({ seed: 0, ...digitSets.baseTrain, count: 3000 });
    const test = digits({ seed: 0, ...digitSets.baseTest, count: 1000 });
    const strong = digits({ seed: 0, ...digitSets.strongTest });
    const strongTrain = digits({ seed: 0, ...digitSets.strongTrain });
    expect(nearestCentroidAccuracy(train, test)).toBeGreaterThan(0.6);
    const base = trainSoftmax(train, 4);
    expect(base(test)).toBeGreaterThan(0.85);
    expect(base(strong)).toBeLessThan(0.3);
    expect(trainSoftmax(strongTrain, 4)(strong)).toBeGreaterThan(0.7);
  });
});

describe("Random", () => {
  it("draws are uniform and streams differ in every key", () => {
    const first = new Random(1, 2, 3);
    const values = Array.from({ length: 20_000 }, () => first.between(0, 1));
    const mean = values.reduce((a, b) => a + b) / values.length;
    const variance = values.reduce((a, b) => a + (b - mean) ** 2, 0) / values.length;
    expect(Math.abs(mean - 0.5)).toBeLessThan(4 * Math.sqrt(1 / 12 / values.length));
    expect(Math.abs(variance - 1 / 12)).toBeLessThan(0.003);
    const starts = [[], [0], [0, 0], [1], [0, 1], [1, 0], [2 ** 32], [2 ** 32 + 1], [1, 2, 3]].map((keys) => new Random(...keys).bits());
    expect(new Set(starts).size).toBe(starts.length);
  });

  it("normal() has mean 0 and deviation 1; below(n) stays below n", () => {
    const random = new Random(7);
    const values = Array.from({ length: 40_000 }, () => random.normal());
    const mean = values.reduce((a, b) => a + b) / values.length;
    expect(Math.abs(mean)).toBeLessThan(0.02);
    expect(Math.abs(Math.sqrt(values.reduce((a, b) => a + b * b, 0) / values.length) - 1)).toBeLessThan(0.02);
    expect(Math.max(...values.map(Math.abs))).toBeLessThan(3.46);
    const seen = new Set(Array.from({ length: 500 }, () => random.below(7)));
    expect([...seen].sort()).toEqual([0, 1, 2, 3, 4, 5, 6]);
  });
});
