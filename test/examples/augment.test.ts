import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { augment, retarget } from "../../examples/augment.js";
import { digits } from "../../examples/digits.js";
import { rotate, sameBytes } from "./helpers.js";

const set = digits({ seed: 1, count: 12 });
const image = set.images.subarray(0, 784);
const key = { seed: 1, epoch: 2, index: 3 };

describe("augment", () => {
  it("is a pure function of seed, epoch and index, and differs in each", () => {
    const options = { shift: 2, turn: 10, noise: 8 };
    const once = augment(image, 28, 28, options, key);
    augment(image, 28, 28, options, { ...key, index: 9 });
    expect(sameBytes(augment(image, 28, 28, options, key), once)).toBe(true);
    for (const other of [{ seed: 2 }, { epoch: 3 }, { index: 4 }]) {
      expect(sameBytes(augment(image, 28, 28, options, { ...key, ...other }), once)).toBe(false);
    }
  });

  it("changes nothing without options and never its input", () => {
    const before = image.slice();
    expect(sameBytes(augment(image, 28, 28, {}, key), image)).toBe(true);
    augment(image, 28, 28, { shift: 3, turn: 20, noise: 20 }, key);
    expect(sameBytes(image, before)).toBe(true);
  });

  it("shifts by whole pixels within the bound, all of them occurring, for every size", () => {
    fc.assert(
      fc.property(fc.integer({ min: 5, max: 12 }), fc.integer({ min: 5, max: 12 }), fc.nat(1000), (rows, cols, index) => {
        const shift = 2;
        const source = Uint8Array.from({ length: rows * cols }, (_, p) => (p * 97) % 251);
        const moved = augment(source, rows, cols, { shift }, { seed: 0, epoch: 0, index });
        const fits: string[] = [];
        for (let dy = -shift; dy <= shift; dy++) {
          for (let dx = -shift; dx <= shift; dx++) {
            const clamp = (value: number, end: number): number => Math.max(0, Math.min(end - 1, value));
            const expected = source.map((_, p) => source[clamp(Math.floor(p / cols) - dy, rows) * cols + clamp((p % cols) - dx, cols)] ?? 0);
            if (sameBytes(expected, moved)) fits.push(`${dx},${dy}`);
          }
        }
        expect(fits).toHaveLength(1);
      }),
    );
    const outcomes = new Set(
      Array.from({ length: 400 }, (_, index) => Buffer.from(augment(image, 28, 28, { shift: 1 }, { ...key, index })).toString("hex")),
    );
    expect(outcomes.size).toBe(9);
  });

  it("turns within the bound: each result is the best fit of some allowed angle", () => {
    const angles = Array.from({ length: 61 }, (_, i) => i - 30);
    const found = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11].map((index) => {
      const turned = augment(image, 28, 28, { turn: 15 }, { ...key, index });
      const errors = angles.map((degrees) => rotate(image, 28, degrees, 13.5).reduce((sum, v, p) => sum + (v - (turned[p] ?? 0)) ** 2, 0));
      return angles[errors.indexOf(Math.min(...errors))] ?? 99;
    });
    expect(Math.max(...found.map(Math.abs))).toBeLessThanOrEqual(15);
    expect(Math.max(...found) - Math.min(...found)).toBeGreaterThan(8);
  });

  it("noise has the deviation that was asked for", () => {
    const grey = new Uint8Array(10_000).fill(128);
    const noisy = augment(grey, 100, 100, { noise: 10 }, key);
    const mean = noisy.reduce((a, b) => a + b, 0) / noisy.length;
    const deviation = Math.sqrt(noisy.reduce((a, b) => a + (b - mean) ** 2, 0) / noisy.length);
    expect(Math.abs(mean - 128)).toBeLessThan(0.5);
    expect(Math.abs(deviation - 10)).toBeLessThan(0.4);
  });

  it("refuses bad options and sizes", () => {
    for (const options of [{ shift: 1.5 }, { shift: -1 }, { shift: 29 }, { turn: Number.NaN }, { turn: 181 }, { noise: -1 }, { noise: 256 }]) {
      expect(() => augment(image, 28, 28, options, key)).toThrowError(expect.objectContaining({ code: "BAD_ARGUMENT" }));
    }
    expect(() => augment(image, 28, 27, {}, key)).toThrowError(expect.objectContaining({ code: "BAD_SHAPE" }));
  });
});

describe("retarget", () => {
  it("strong turns by 30° clockwise and inverts", () => {
    const strong = retarget(set, "strong", 0);
    expect(sameBytes(strong.labels, set.labels)).toBe(true);
    for (let i = 0; i < set.count; i++) {
      const expected = rotate(set.images.subarray(i * 784, (i + 1) * 784), 28, 30, 13.5);
      // The corners come from outside of the image, where the oracle has 0 and retarget goes on with the edge.
      for (let p = 0; p < 784; p++) {
        const fromMiddle = Math.hypot((p % 28) - 13.5, Math.floor(p / 28) - 13.5);
        if (fromMiddle <= 13) expect(Math.abs(255 - (strong.images[i * 784 + p] ?? 0) - (expected[p] ?? 0))).toBeLessThanOrEqual(0.5 + 1e-9);
      }
    }
  });

  it("mild halves the contrast and adds noise; base changes nothing", () => {
    const flat = { images: new Uint8Array(784 * 4).fill(200), labels: new Uint8Array(4), rows: 28, cols: 28, count: 4 };
    const { images } = retarget(flat, "mild", 0);
    const mean = images.reduce((a, b) => a + b, 0) / images.length;
    expect(Math.abs(mean - 100)).toBeLessThan(2);
    expect(Math.abs(Math.sqrt(images.reduce((a, b) => a + (b - mean) ** 2, 0) / images.length) - 20)).toBeLessThan(1.5);
    expect(sameBytes(retarget(flat, "mild", 0).images, images)).toBe(true);
    expect(sameBytes(retarget(flat, "mild", 1).images, images)).toBe(false);
    expect(sameBytes(retarget(set, "base", 0).images, set.images)).toBe(true);
  });
});
