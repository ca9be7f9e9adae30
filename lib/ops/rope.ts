import { LowrankError } from "../native/errors.js";
import { shapeText } from "../tensor/shape.js";
import { defineOp, fold, type View } from "./op.js";
import { at, fromIndex } from "./reference.js";

/** Resolved parameters: the number of heads rides along, since views do not carry it. */
interface RopeParams {
  heads?: number;
}

const positionsOf = (positions: View | undefined, x: View | undefined, heads = 1): View | undefined =>
  fold(positions, heads === 0 ? 0 : (x?.rows ?? 0) / heads, 1);

export const ropeOp = defineOp({
  name: "rope",
  signature: "x[..., H, K], table[P, K], positions[...] -> y[..., H, K]",
  formula: "y = x rotated: pairs (x[i], x[i + K/2]) by the angle whose cosine and sine the table holds for the position",
  dtypes: { x: ["f32"], table: ["f32"], positions: ["i32"] },
  gradients: ["x"],
  keeps: ["table", "positions"],
  packed: ["positions"],
  defaults: {} as RopeParams,
  shape: ({ x = [] }, params) => {
    const [heads = 0, size = 0] = x.slice(-2);
    if (size % 2 !== 0) throw new LowrankError("BAD_SHAPE", `rope: the last size of x is even, found ${shapeText(x)}`, { actual: x });
    params.heads = heads;
    return [...x];
  },
  forward: (k, { y, x, table, positions }, { heads }) => k.rope(y, x, table, positionsOf(positions, x, heads), heads ?? 0, false),
  backward: (k, { dx, dy, table, positions }, { heads }) => k.rope(dx, dy, table, positionsOf(positions, dy, heads), heads ?? 0, true),
  reference: ({ x, table, positions }) => {
    const [heads = 0, size = 0] = x.shape.slice(-2);
    const half = size / 2;
    return fromIndex(x.shape, (e) => {
      const [row, i] = [Math.floor(e / size), e % size];
      const start = at(positions, Math.floor(row / heads)) * size;
      const [cosine, sine] = [at(table, start + (i % half)), at(table, start + half + (i % half))];
      return i < half ? at(x, e) * cosine - at(x, e + half) * sine : at(x, e) * cosine + at(x, e - half) * sine;
    });
  },
  tolerance: "flash",
  values: { positions: "below P" },
  sizes: { K: { small: [0, 2, 8, 10, 34, 64], large: 130 } },
});
