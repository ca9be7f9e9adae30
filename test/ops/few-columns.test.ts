/** @file Products of a few columns with long rows (low ranks, a head of ten classes), which kernels multiply along K. */
import { expect, it } from "vitest";
import { linearOp, matmulOp } from "../../lib/ops/index.js";
import type { AnyOp } from "../../lib/ops/op.js";
import type { Case, Layout } from "./cases.js";
import { checkCase } from "./check.js";

type Shapes = Readonly<Record<string, readonly number[]>>;

/** Sizes of rows, K and columns. Strided rows are five elements longer: 160 and 144 are whole vectors of every backend. */
const cases: [AnyOp, Layout, Shapes][] = [
  [linearOp, "packed", { x: [50, 160], w: [16, 160], bias: [16] }],
  [linearOp, "packed", { x: [4, 1136], w: [1, 1136] }],
  [linearOp, "strided", { x: [9, 139], w: [5, 139], bias: [5] }],
  [matmulOp, "packed", { a: [13, 144], b: [144, 4] }],
  [matmulOp, "strided", { a: [7, 155], b: [155, 13] }],
];

it.each(cases.map((one) => [one[0].name, ...one] as const))("%s", async (_, op, layout, shapes) => {
  const dtypes = Object.fromEntries(Object.keys(shapes).map((name) => [name, "f32"] as const));
  const one: Case = { op, dtype: "f32", layout, shapes, dtypes, params: {}, seed: 1, large: false };
  expect(await checkCase(one)).toEqual([]);
});
