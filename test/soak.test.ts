import { describe, expect, it } from "vitest";
import { soak, theilSen } from "../bench/soak.js";

describe("a long training", () => {
  it("leaves as many tensors and bytes after every step, with evaluation, save and load in between", async () => {
    const { tensors, bytes, reservedGrowth, accuracy } = await soak(600, 100);
    expect(tensors).toHaveLength(1);
    expect(bytes).toHaveLength(1);
    expect(reservedGrowth).toBe(0);
    expect(accuracy).toBeGreaterThan(0.9);
  });

  it("is measured by a slope that outliers do not move", () => {
    const points = Array.from({ length: 21 }, (_, i) => [i, 3 * i + (i % 5 === 0 ? 1000 * i : 0)] as const);
    expect(theilSen(points)).toBeCloseTo(3, 6);
    expect(theilSen([])).toBe(0);
  });
});
